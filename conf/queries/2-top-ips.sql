-- SPDX-License-Identifier: Apache-2.0
-- The ten addresses with most requests on one date.
SELECT json_extract(value, '$.ip_address') AS ip_address, count(*) AS request_count
FROM events
WHERE index_name = 'prod-logs-index' AND json_extract(value, '$.date') = '2025-01-15'
GROUP BY 1
ORDER BY 2 DESC, 1
LIMIT 10;
