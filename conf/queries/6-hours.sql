-- SPDX-License-Identifier: Apache-2.0
-- The requests of one date from 10 to 12 o'clock (12:59 is in it), UTC.
SELECT timestamp, value
FROM events
WHERE index_name = 'prod-logs-index'
  AND json_extract(value, '$.date') = '2025-01-15'
  AND json_extract(value, '$.hour') BETWEEN 10 AND 12
ORDER BY number;
