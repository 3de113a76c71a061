-- SPDX-License-Identifier: Apache-2.0
-- Per date: requests, distinct addresses, average size of the answers.
SELECT json_extract(value, '$.date') AS date,
       count(*) AS request_count,
       count(DISTINCT json_extract(value, '$.ip_address')) AS distinct_ips,
       avg(json_extract(value, '$.response_size')) AS avg_response_size
FROM events
WHERE index_name = 'prod-logs-index' AND json_extract(value, '$.date') IS NOT NULL
GROUP BY 1
ORDER BY 1;
