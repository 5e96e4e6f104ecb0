import { startRedisCluster } from '../../scripts/servers/redis-cluster.ts';
import { frontFixture, PATIENT_MS, targetOf } from '../support/redis-front.ts';
import { describeChallengeCopies } from './challenge-copies.contract.ts';
import { describeNews } from './news.contract.ts';
import { describePendingEnds } from './pending-ends.contract.ts';
import { describeSessionCopies } from './session-copies.contract.ts';

const name = 'Redis Cluster';
const make = async () => {
  const redis = await startRedisCluster({ nodeTimeoutMs: 5_000 });
  const target = targetOf({ mode: 'cluster', at: redis.addresses.slice(0, 1), timeoutMs: PATIENT_MS });
  return frontFixture(target, () => redis[Symbol.asyncDispose]());
};
describeSessionCopies(name, make);
describeChallengeCopies(name, make);
describePendingEnds(name, make);
describeNews(name, make);
