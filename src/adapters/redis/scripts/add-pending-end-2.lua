-- Lists an end that is not durable yet. The id makes a second call change nothing.
-- KEYS[1]  ids by instant
-- KEYS[2]  sealed ends by id
-- ARGV[1]  id
-- ARGV[2]  when it was asked for, in milliseconds
-- ARGV[3]  the end, sealed
-- ARGV[4]  most ends in the list
-- returns  {'added'}, {'known'} or {'full'}
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1])
  return {'known'}
end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then
  return {'full'}
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return {'added'}
