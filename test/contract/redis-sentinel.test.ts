import { startSentinel } from '../../scripts/servers/redis-sentinel.ts';
import { frontFixture, PATIENT_MS, targetOf } from '../support/redis-front.ts';
import { describeChallengeCopies } from './challenge-copies.contract.ts';
import { describeNews } from './news.contract.ts';
import { describePendingEnds } from './pending-ends.contract.ts';
import { describeSessionCopies } from './session-copies.contract.ts';

const name = 'Redis Sentinel';
const make = async () => {
  // A failover in the middle, because the machine is busy, would be another test.
  const redis = await startSentinel({ downAfterMs: 10_000 });
  const target = targetOf({ mode: 'sentinel', at: redis.addresses, timeoutMs: PATIENT_MS });
  return frontFixture(target, () => redis[Symbol.asyncDispose]());
};
describeSessionCopies(name, make);
describeChallengeCopies(name, make);
describePendingEnds(name, make);
describeNews(name, make);
