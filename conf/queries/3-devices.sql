-- SPDX-License-Identifier: Apache-2.0
-- Per kind of device over some dates: requests and distinct addresses.
SELECT json_extract(value, '$.device_type') AS device_type,
       count(*) AS request_count,
       count(DISTINCT json_extract(value, '$.ip_address')) AS distinct_ips
FROM events
WHERE index_name = 'prod-logs-index'
  AND json_extract(value, '$.date') BETWEEN '2025-01-05' AND '2025-01-20'
GROUP BY 1
ORDER BY 2 DESC;
