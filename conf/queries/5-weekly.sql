-- SPDX-License-Identifier: Apache-2.0
-- Per week: requests, distinct addresses, average size of the answers.
SELECT json_extract(value, '$.year') AS year,
       json_extract(value, '$.week_of_year') AS week_of_year,
       count(*) AS request_count,
       count(DISTINCT json_extract(value, '$.ip_address')) AS distinct_ips,
       avg(json_extract(value, '$.response_size')) AS avg_response_size
FROM events
WHERE index_name = 'prod-logs-index' AND json_extract(value, '$.week_of_year') IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2;
