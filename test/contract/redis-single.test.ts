import { startRedis } from '../../scripts/servers/redis.ts';
import { frontFixture, PATIENT_MS, targetOf } from '../support/redis-front.ts';
import { describeChallengeCopies } from './challenge-copies.contract.ts';
import { describeNews } from './news.contract.ts';
import { describePendingEnds } from './pending-ends.contract.ts';
import { describeSessionCopies } from './session-copies.contract.ts';

const name = 'a single Redis';
const make = async () => {
  const redis = await startRedis();
  return frontFixture(targetOf({ at: [redis.address], timeoutMs: PATIENT_MS }), () => redis[Symbol.asyncDispose]());
};
describeSessionCopies(name, make);
describeChallengeCopies(name, make);
describePendingEnds(name, make);
describeNews(name, make);
