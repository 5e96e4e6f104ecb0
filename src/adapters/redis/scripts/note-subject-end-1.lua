-- Notes that all sessions of a person that began by an instant have ended, but one. Instants only grow, so a second call
-- changes nothing. With too many exceptions the end has none: a person may have to log in again, nobody stays in.
-- KEYS[1]  instants by exception
-- ARGV[1]  the exception; '' for none
-- ARGV[2]  the instant, in milliseconds
-- ARGV[3]  most exceptions
-- ARGV[4]  life of the note in milliseconds
-- returns  {'noted'}
local exception = ARGV[1]
if redis.call('HEXISTS', KEYS[1], exception) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  exception = ''
end
local known = redis.call('HGET', KEYS[1], exception)
if not known or tonumber(known) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], exception, ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'noted'}
