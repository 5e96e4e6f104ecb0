-- Takes an end that has become durable off the list.
-- KEYS[1]  ids by instant
-- KEYS[2]  sealed ends by id
-- ARGV[1]  id
-- returns  {'removed'} or {'unknown'}
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then
  return {'removed'}
end
return {'unknown'}
