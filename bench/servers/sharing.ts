// The bare equivalent of a sidecar that shares what ends: grpc-js with the same messages and a set of ends in memory, kept
// up by a Redis channel (SHARING_REDIS is its port) or by a table that is read four times a second (SHARING_POSTGRES is
// its URL). Prints its port.
import { randomUUID } from 'node:crypto';
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import {
  type AnswerChallengeRequest,
  ChallengeService,
  ChallengeState,
  type VerifyChallengeRequest,
} from '../../src/gen/sallyport/v1/challenge_pb.js';
import {
  type CreateSessionRequest,
  type RevokeSessionRequest,
  SessionService,
  type ValidateSessionRequest,
} from '../../src/gen/sallyport/v1/session_pb.js';
import { definitionOf } from './definition.ts';

const CHANNEL = 'bare';
/** As the sidecar without Redis. */
const POLL_MS = 250;

const ended = new Set<string>();
const waiting = new Map<string, () => void>();

function hear(name: string): void {
  ended.add(name);
  waiting.get(name)?.();
}

/** Answers how to tell of an end. */
async function overRedis(port: number): Promise<(name: string) => Promise<unknown>> {
  const [publisher, subscriber] = [new Redis(port, '127.0.0.1'), new Redis(port, '127.0.0.1')];
  subscriber.on('message', (_, name: string) => hear(name));
  await subscriber.subscribe(CHANNEL);
  return (name) => publisher.publish(CHANNEL, name);
}

async function overPostgres(url: string): Promise<(name: string) => Promise<unknown>> {
  const [writing, reading] = [new Client({ connectionString: url }), new Client({ connectionString: url })];
  await Promise.all([writing.connect(), reading.connect()]);
  let known = 0;
  setInterval(async () => {
    const sql = 'SELECT position, name FROM bare_ends WHERE position > $1 ORDER BY position';
    const { rows } = await reading.query<{ readonly position: string; readonly name: string }>(sql, [known]);
    for (const { position, name } of rows) {
      known = Number(position);
      hear(name);
    }
  }, POLL_MS);
  return (name) => writing.query('INSERT INTO bare_ends (name) VALUES ($1)', [name]);
}

const { SHARING_REDIS: redisPort, SHARING_POSTGRES: postgresUrl = '' } = process.env;
const share = redisPort === undefined ? await overPostgres(postgresUrl) : await overRedis(Number(redisPort));

/** Both sides see it, the own one at once. */
async function end(name: string): Promise<void> {
  await share(name);
  hear(name);
}

const sessions = SessionService.method;
const challenges = ChallengeService.method;
const server = new Server();
server.addService(
  {
    create: definitionOf(sessions.createSession),
    validate: definitionOf(sessions.validateSession),
    revoke: definitionOf(sessions.revokeSession),
    answer: definitionOf(challenges.answerChallenge),
    verify: definitionOf(challenges.verifyChallenge),
  },
  {
    create(call: ServerUnaryCall<CreateSessionRequest, object>, done: sendUnaryData<object>) {
      done(null, { token: randomUUID(), session: { id: randomUUID(), subject: call.request.subject } });
    },
    validate(call: ServerUnaryCall<ValidateSessionRequest, object>, done: sendUnaryData<object>) {
      if (ended.has(call.request.token)) done({ code: status.UNAUTHENTICATED, details: 'ended' });
      else done(null, { session: { id: call.request.token } });
    },
    revoke(call: ServerUnaryCall<RevokeSessionRequest, object>, done: sendUnaryData<object>) {
      const { session } = call.request;
      void end(session.case === 'token' ? session.value : '').then(() => done(null, {}));
    },
    answer(call: ServerUnaryCall<AnswerChallengeRequest, object>, done: sendUnaryData<object>) {
      void end(call.request.challengeId).then(() => done(null, {}));
    },
    verify(call: ServerDuplexStream<VerifyChallengeRequest, object>) {
      call.on('error', () => {});
      call.on('data', () => {
        const id = randomUUID();
        waiting.set(id, () => {
          waiting.delete(id);
          call.write({ event: { case: 'finished', value: { challenge: { id, state: ChallengeState.APPROVED } } } });
          call.end();
        });
        call.write({ event: { case: 'challenge', value: { id } } });
      });
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`${port}\n`);
});
process.on('SIGTERM', () => process.exit(0));
