-- Keeps a copy, unless the one that is there is newer.
-- KEYS[1]  the copy: its order, then its sealed value
-- ARGV[1]  its order: decimal digits of fixed width, so that texts compare as the numbers do
-- ARGV[2]  its sealed value
-- ARGV[3]  its life in milliseconds
-- returns  {'kept'} or {'newer'}
local stored = redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1)
if #stored == #ARGV[1] and not string.find(stored, '%D') and stored > ARGV[1] then
  return {'newer'}
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return {'kept'}
