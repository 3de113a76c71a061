-- SPDX-License-Identifier: Apache-2.0
-- Per category and status: requests and their share in percent.
SELECT json_extract(value, '$.status_category') AS status_category,
       json_extract(value, '$.status_code') AS status_code,
       count(*) AS request_count,
       round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percentage
FROM events
WHERE index_name = 'prod-logs-index' AND json_extract(value, '$.status_code') IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2;
