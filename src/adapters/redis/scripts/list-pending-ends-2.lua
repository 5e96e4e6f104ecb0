-- A page of the ends that are not durable yet, oldest first.
-- KEYS[1]  ids by instant
-- KEYS[2]  sealed ends by id
-- ARGV[1]  how many to pass over
-- ARGV[2]  how many to look at
-- returns  {'page', how many were looked at, sealed end, sealed end, ...}
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1)
local page = {'page', #ids}
for _, id in ipairs(ids) do
  local sealed = redis.call('HGET', KEYS[2], id)
  if sealed then
    page[#page + 1] = sealed
  end
end
return page
