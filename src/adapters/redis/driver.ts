import { Cluster, Redis } from 'ioredis';

/**
 * ioredis hangs the arguments of a refused command on its error, the password of a refused login among them, and hands
 * that error to whoever traces it (`ioredis:command`). Here errors have none. Also those of connections that a Cluster
 * opens by itself, which is why the prototype is changed rather than a class derived.
 */
const { handleReconnection } = Redis.prototype;
Redis.prototype.handleReconnection = function (this: Redis, error, item) {
  if ('command' in error) delete error.command;
  handleReconnection.call(this, error, item);
};

export { Cluster, Redis };
