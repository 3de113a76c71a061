/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes of the control topic are a receipt that makes sense, or none. */
#include <stddef.h>
#include <stdint.h>

#include "core/assert.h"
#include "sinks/receipts/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct receipt receipt;
    if (!receipt_read(&receipt, data, size))
        return 0;
    ASSERT(receipt.from < receipt.to);
    ASSERT(receipt.events <= receipt.to - receipt.from);
    ASSERT(!receipt.placed || (receipt.first <= receipt.last && receipt.partition >= 0));
    struct proof proof = {0};
    ASSERT(proof_add_receipt(&proof, &receipt));
    proof_sort_receipts(&proof);
    struct life *life = proof_find(&proof, receipt.generation);
    ASSERT(life != NULL);
    ASSERT(life_add_event(&proof, life, receipt.from, 1));
    struct verdict verdict = life_judge(life);
    ASSERT(verdict.promised == receipt.events);
    receipt_done(&receipt);
    proof_done(&proof);
    return 0;
}
