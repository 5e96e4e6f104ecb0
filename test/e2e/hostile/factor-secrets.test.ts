import { execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { toJsonString } from '@bufbuild/protobuf';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemRandom } from '#src/adapters/system.ts';
import {
  AuditService,
  type ExportEventsResponse,
  ExportEventsResponseSchema,
  QueryEventsResponseSchema,
} from '#src/gen/sallyport/v1/audit_pb.js';
import { type ExportSubjectResponse, PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import { PUSH_KEY_BINDING } from '#src/ports/push-key-store.ts';
import { findProgram } from '../../../scripts/servers/binaries.ts';
import { DATABASE, ROLES } from '../../../scripts/servers/central-database.ts';
import type { RedisServer } from '../../../scripts/servers/redis.ts';
import { ErrorKeepingClient } from '../../support/error-keeping-client.ts';
import { FactorSite } from '../../support/factor-site.ts';
import { startFleet } from '../../support/fleet.ts';
import { whenFlushed } from '../../support/fleet-trail.ts';
import type { GrpcClient } from '../../support/grpc-client.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';
import { PlantedFactors } from '../../support/planted-factors.ts';
import { foundIn, type Sinks, unescaped } from '../../support/secret-search.ts';
import { Sidecar } from '../../support/sidecar.ts';

const run = promisify(execFile);
const DEBUG = {
  SALLYPORT_LOG_LEVEL: 'debug',
  SALLYPORT_AUDIT_FOLD_WINDOW: '1s',
  SALLYPORT_TRUSTED_DEVICES_GRACE: '0s',
};
const SUBJECT = 'planted-sms-0';

/** What was met in one way of running, and everything that could have kept it. */
class Search {
  readonly sinks = new Map<string, Buffer>();
  /** What a person gets of their own. */
  readonly exports = new Map<string, Buffer>();
  secrets: ReadonlyMap<string, string | Buffer> = new Map();

  /** Whatever of a running sidecar can be read from outside. */
  async readSidecar(name: string, sidecar: Sidecar): Promise<void> {
    for (const path of ['metrics', 'readyz', 'livez', 'startupz'])
      this.sinks.set(`${name}: /${path}`, Buffer.from(await (await fetch(`${sidecar.adminUrl}/${path}`)).text()));
    const { pid } = sidecar.child;
    this.sinks.set(`${name}: command line`, readFileSync(`/proc/${pid}/cmdline`));
    this.sinks.set(
      `${name}: titles`,
      Buffer.concat(readdirSync(`/proc/${pid}/task`).map((id) => readFileSync(`/proc/${pid}/task/${id}/comm`))),
    );
    this.readFiles(`${name}, running`, sidecar);
    const operator = sidecar.operator();
    const reply = await operator.unary(AuditService.method.queryEvents, { pageSize: 1_000 });
    this.sinks.set(`${name}: events`, Buffer.from(toJsonString(QueryEventsResponseSchema, reply)));
    this.sinks.set(`${name}: exported events`, await exportedEvents(operator));
    this.exports.set(`${name}: exported person`, await exportedPerson(operator, SUBJECT));
  }

  readFiles(name: string, { dataDir }: Sidecar): void {
    // Their content is a secret, and only their owner may read them.
    for (const entry of readdirSync(dataDir, { withFileTypes: true }))
      if (entry.isFile() && !['keys.json', 'operator.token'].includes(entry.name))
        this.sinks.set(`${name}: ${entry.name}`, readFileSync(join(dataDir, entry.name)));
  }

  readOutput(name: string, { stdout, stderr }: Sidecar): void {
    this.sinks.set(`${name}: stdout`, Buffer.from(stdout));
    this.sinks.set(`${name}: stderr`, Buffer.from(stderr));
  }

  /** Each secret that is somewhere, and where. */
  found(sinks: Sinks): readonly string[] {
    return [...this.secrets].flatMap(([what, secret]) => foundIn(sinks, secret).map((where) => `${what} in ${where}`));
  }
}

function exportedEvents(operator: GrpcClient): Promise<Buffer> {
  const parts: Buffer[] = [];
  const stream = operator.serverStream(AuditService.method.exportEvents, {});
  stream.on('data', (message: ExportEventsResponse) => {
    parts.push(Buffer.from(toJsonString(ExportEventsResponseSchema, message)));
    if (message.item.case === 'row') parts.push(Buffer.from(message.item.value.record));
  });
  return new Promise((resolve, reject) => {
    stream.on('error', reject);
    stream.on('end', () => resolve(Buffer.concat(parts)));
  });
}

function exportedPerson(operator: GrpcClient, subject: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  const stream = operator.serverStream(PrivacyService.method.exportSubject, { subject });
  stream.on('data', ({ chunk }: ExportSubjectResponse) => parts.push(Buffer.from(chunk)));
  return new Promise((resolve, reject) => {
    stream.on('error', reject);
    stream.on('end', () => resolve(Buffer.concat(parts)));
  });
}

/** The private key that push services are spoken to with, opened as a sidecar opens it. */
async function vapidKey(keysFile: string, sealed: Uint8Array): Promise<Buffer> {
  const box = new AesGcmSecretBox({ ring: await loadKeyRing(keysFile), random: systemRandom });
  return Buffer.from(box.open(sealed, PUSH_KEY_BINDING));
}

/** Everything that Redis is told, as MONITOR has it. */
function monitor(redis: RedisServer) {
  const child = spawn(findProgram('redis-cli'), ['-p', String(redis.port), 'MONITOR'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const parts: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => parts.push(chunk));
  return { text: () => Buffer.concat(parts).toString('latin1'), [Symbol.dispose]: () => void child.kill() };
}

/** Without the milliseconds that values live: a hundred numbers of six digits, as codes have. */
function withoutLifetimes(told: string): string {
  const lifetimes = new Set([...told.matchAll(/"PX" "(\d+)"/g)].map(([, milliseconds]) => milliseconds));
  return told.replaceAll(/"(\d{6})"/g, (argument, digits: string) => (lifetimes.has(digits) ? '"lifetime"' : argument));
}

async function dumpOfRedis({ port }: RedisServer): Promise<Buffer> {
  const redis = new Redis({ port, host: '127.0.0.1' });
  try {
    const keys = await redis.keysBuffer('*');
    const values = await Promise.all(keys.map((key) => redis.dumpBuffer(key)));
    return Buffer.concat([...keys, ...values.map((value) => value ?? Buffer.alloc(0))]);
  } finally {
    redis.disconnect();
  }
}

/** Embedded: one process, its files. */
async function embedded(): Promise<Search> {
  const search = new Search();
  await using site = await FactorSite.start();
  await using sidecar = await Sidecar.start({ env: { ...site.settings, ...site.settingsOf(0), ...DEBUG } });
  const client = new ErrorKeepingClient(sidecar.grpcAddress);
  const planted = new PlantedFactors({ site, a: client, b: client, operator: sidecar.operator(), second: 0 });
  await planted.run();
  search.secrets = planted.secrets;
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await search.readSidecar('sidecar', sidecar);
  search.sinks.set('errors', Buffer.concat(client.errors));
  client.close();
  await sidecar.stop();
  search.readFiles('sidecar, stopped', sidecar);
  search.readOutput('sidecar', sidecar);
  const { default: Database } = await import('better-sqlite3');
  const db = new Database(join(sidecar.dataDir, 'state.db'), { readonly: true });
  const row = db.prepare<[], { sealed_private: Buffer }>('SELECT sealed_private FROM push_keys').get();
  db.close();
  planted.secrets.set(
    'VAPID private key',
    await vapidKey(join(sidecar.dataDir, 'keys.json'), row?.sealed_private ?? Buffer.alloc(0)),
  );
  return search;
}

/** Shared: two processes, Redis with what it was told, PostgreSQL with what it was ever given. */
async function shared(): Promise<Search> {
  const search = new Search();
  await using site = await FactorSite.start(2);
  await using fleet = await startFleet({
    sidecars: 2,
    settings: { ...UNHURRIED, ...site.settings, ...DEBUG },
    settingsOf: (index) => site.settingsOf(index),
    // Values as they are, and each statement with its arguments: what was deleted since is in the log.
    redisSettings: { rdbcompression: 'no' },
    postgresSettings: { log_min_duration_statement: '0', log_parameter_max_length: '-1' },
  });
  const [redis] = fleet.redis.servers;
  if (redis === undefined) throw new Error('no Redis');
  using told = monitor(redis);
  const clients = fleet.sidecars.map(({ grpcAddress }) => new ErrorKeepingClient(grpcAddress));
  const [a, b] = clients;
  if (!a || !b) throw new Error('there are not two sidecars');
  const planted = new PlantedFactors({ site, a, b, operator: fleet.operator(0), second: 1 });
  await planted.run();
  search.secrets = planted.secrets;
  search.sinks.set('Redis', await dumpOfRedis(redis));
  search.sinks.set('told to Redis', unescaped(withoutLifetimes(told.text())));
  await whenFlushed(fleet);
  for (const [index, sidecar] of fleet.sidecars.entries()) await search.readSidecar(`sidecar ${index}`, sidecar);
  search.sinks.set('errors', Buffer.concat(clients.flatMap(({ errors }) => errors)));
  for (const client of clients) client.close();
  const dumped = await run('pg_dump', ['--inserts', fleet.postgres.url(DATABASE, ROLES.owner)], { maxBuffer: 1 << 29 });
  search.sinks.set('dump of PostgreSQL', Buffer.from(dumped.stdout));
  search.sinks.set('dump of PostgreSQL as bytes', unescaped(dumped.stdout));
  search.sinks.set('told to PostgreSQL', Buffer.from(fleet.postgres.log));
  search.sinks.set('told to PostgreSQL as bytes', unescaped(fleet.postgres.log));
  for (const [index, sidecar] of fleet.sidecars.entries()) {
    await sidecar.stop();
    search.readFiles(`sidecar ${index}, stopped`, sidecar);
    search.readOutput(`sidecar ${index}`, sidecar);
  }
  const [row] = await fleet.postgres.query<{ sealed_private: Buffer }>(
    'SELECT sealed_private FROM push_keys',
    [],
    DATABASE,
  );
  const keysFile = join(fleet.sidecar(0).dataDir, '..', 'keys.json');
  planted.secrets.set('VAPID private key', await vapidKey(keysFile, row?.sealed_private ?? Buffer.alloc(0)));
  return search;
}

describe.each([
  [
    'embedded',
    embedded,
    [
      ['sidecar, running: state.db-wal', SUBJECT],
      ['sidecar, stopped: state.db', SUBJECT],
    ],
  ],
  [
    'shared',
    shared,
    [
      ['dump of PostgreSQL', SUBJECT],
      ['dump of PostgreSQL as bytes', SUBJECT],
      ['told to PostgreSQL', SUBJECT],
      ['Redis', 'sallyport:'],
      ['told to Redis', 'sallyport:'],
    ],
  ],
] as const)('after every factor went through success and every trouble at log level debug, %s', (_, go, stores) => {
  let search: Search;
  beforeAll(async () => {
    search = await go();
  });

  it('has secrets of every kind, and a search that finds what is there in each of its forms', () => {
    for (const what of [
      'auth token of Twilio',
      'webhook secret',
      'VAPID private key',
      'seed',
      'first device token',
      'second device token',
      'temporary pass',
      'endpoint 5',
      'p256dh 5',
      'auth 5',
      'SMS code 5',
      'not-me token 0',
      'backup code 9 of planted-totp',
      'challenge for the key of planted-totp',
    ])
      expect(search.secrets.get(what)?.length ?? 0, what).toBeGreaterThanOrEqual(6);
    expect([...search.secrets.keys()].filter((what) => what.startsWith('number +1415555')).length).toBeGreaterThan(7);
    for (const [store, control] of stores) expect(foundIn(search.sinks, control)).toContain(`${store} as it is`);
    const everywhere = foundIn(search.sinks, 'challenge').join('\n');
    for (const place of ['stderr as it is', '/metrics as it is', 'events as it is'])
      expect(everywhere).toContain(place);
    // What was to happen did.
    for (const reason of ['FIELD_INVALID', 'DELIVERY_FAILED', 'PROOF_REFUSED', 'PASS_REQUIRED'])
      expect(search.sinks.get('errors')?.toString('latin1')).toContain(reason);
    for (const type of [
      'backup_code.used',
      'challenge.delivery_failed',
      'challenge.denied',
      'device.token_reused',
      'factor.endpoint_gone',
      'factor.enrollment_refused',
      'notice.sent',
      'subject.reported_not_me',
      'subject.reset',
    ])
      expect(foundIn(search.sinks, type).join(), type).toContain(': events as it is');
    const control = Buffer.from('a control that is there');
    const [before, after] = [Buffer.from('xy'), Buffer.from('z')];
    for (const text of [
      `<${control.toString('hex')}>`,
      ...[0, 1, 2].map((many) => Buffer.concat([before.subarray(0, many), control, after]).toString('base64')),
      `"${encodeURIComponent(String(control))}"`,
    ])
      expect(foundIn(new Map([['there', Buffer.from(text)]]), String(control)), text).not.toEqual([]);
    expect(foundIn(new Map([['there', Buffer.from('msg="123456"')]]), '123456')).toHaveLength(1);
  });

  it('has no secret, number or endpoint in any log, metric, error, event, file, row, key or argument', () => {
    expect(search.found(search.sinks)).toEqual([]);
  });

  it('exports to a person their own number, whole, and nothing else of all that', () => {
    const [own = ''] = [...search.secrets.keys()].filter((what) => /^number \+\d+$/.test(what));
    const wanted = [...search.exports.keys()].flatMap((name) =>
      [own, `${own} without its country`].map((what) => `${what} in ${name} as it is`),
    );
    expect(search.found(search.exports).toSorted()).toEqual(wanted.toSorted());
  });
});
