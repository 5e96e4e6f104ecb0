import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { NoticingExecutor } from '#src/adapters/sql/noticing-executor.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { plainStores } from '#src/adapters/sql/stores.ts';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Factor } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import type { Method } from '#src/domain/method.ts';
import { DEFAULT_REACTIONS } from '#src/domain/risk.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import { DeviceLogins } from '#src/services/devices/device-logins.ts';
import { TrustedDevices } from '#src/services/devices/trusted-devices.ts';
import { NotMe } from '#src/services/notices/not-me.ts';
import { NotMeLinks } from '#src/services/notices/not-me-links.ts';
import { Operations } from '#src/services/operations.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { Sessions } from '#src/services/sessions/sessions.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from './clock.ts';
import { outageWorld } from './fake-dependencies.ts';
import { MemorySql } from './memory-sql.ts';
import { SeededRandom } from './random.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';
import { APPLICATION, GivenReceipts, LAPTOP } from './session-world.ts';

export const REALM = 'default';
export const PORTAL: Caller = { roles: new Set(['portal']), name: 'public', correlationId: 'corr-3' };
export const VISIT = { caller: PORTAL, client: LAPTOP };

export interface PersonWorldOptions {
  readonly devicesEnabled?: boolean;
  readonly graceMs?: number;
  readonly publicUrl?: string;
}

/** What concerns one person beyond a single factor, over the SQL stores in memory: devices, sessions, reset, notices. */
export function personWorld(options: PersonWorldOptions = {}) {
  const clock = new ManualClock();
  const random = new SeededRandom('person');
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const audit = new RecordingAudit();
  const sql = new NoticingExecutor(new MemorySql(audit.events));
  const stores = plainStores(sql, { table: 'subjects' });
  const ring = createKeyRing(random);
  const box = new AesGcmSecretBox({ ring, random });
  const digest = new HmacKeyedDigest({ ring });
  const sessionStore = new SqlSessionStore(sql, box);
  const claims = new RequestClaims({ clock, digest, ttlMs: DAY });
  const trail = new Trail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 100 });
  const { outages } = outageWorld({ trail, clock, metrics, log });
  const receipts = new GivenReceipts();
  const made = { box, secrets: box, digest, claims, trail, clock, random, metrics, log, outages };
  const enabled = options.devicesEnabled ?? true;
  const sessions = new Sessions({
    ...made,
    store: sessionStore,
    signals: new MemorySignals({ log }),
    receipts,
    locator: { locate: () => undefined },
    agents: { parse: async () => ({ browser: 'Firefox 145', operatingSystem: 'Linux' }) },
    options: {
      cap: 5,
      policy: 'evict_oldest',
      absoluteMs: DAY,
      idleMs: DAY,
      cacheEntries: 100,
      flushMs: 5 * SECOND,
      sweepMs: 10 * SECOND,
      retentionMs: 30 * DAY,
      heartbeatMs: 15 * SECOND,
      reactions: DEFAULT_REACTIONS,
      trustedDevices: { enabled, lifeMs: 30 * DAY, maxDevices: 3 },
    },
  });
  const { endings } = sessions;
  const devices = new TrustedDevices({ ...made, devices: stores.devices });
  const logins = new DeviceLogins({
    ...made,
    devices: stores.devices,
    enabled,
    graceMs: options.graceMs ?? 30 * SECOND,
  });
  const links = new NotMeLinks({
    ...made,
    lifeMs: 7 * DAY,
    publicUrl: options.publicUrl ?? 'https://id.example.com',
  });
  const notMe = new NotMe({ ...made, ...stores, links, devices, endings });
  const operations = new Operations({ ...made, ...stores, sessions: sessionStore, endings, passLifeMs: HOUR });

  /** Signs in; by default proven by TOTP, and remembered. */
  const signIn = async (subject = 'ann', over: { readonly remember?: boolean; readonly method?: Method } = {}) => {
    const { remember = true, method = 'totp' } = over;
    const created = await sessions.creation.create(
      {
        realm: REALM,
        subject,
        client: LAPTOP,
        receipt: receipts.give({ subject, method }),
        labels: {},
        endSessionIds: [],
        rememberDevice: remember,
        deviceName: '',
        requestId: '',
      },
      APPLICATION,
    );
    if (created.outcome !== 'created') throw new Error(`expected a session, got ${created.outcome}`);
    return { session: created.session, token: created.token, deviceToken: created.trusted?.token ?? '' };
  };
  /** Shows a device's token at a login. */
  const show = (token: string, over: Partial<Parameters<DeviceLogins['use']>[1]> = {}) =>
    logins.use(APPLICATION, {
      realm: REALM,
      subject: 'ann',
      purpose: 'login',
      sensitivity: 'sensitive',
      token,
      client: LAPTOP,
      ...over,
    });
  /** Shows it and answers the token that takes its place; throws when it is refused. */
  const rotate = async (token: string): Promise<string> => {
    const used = await show(token);
    if (used.outcome !== 'trusted') throw new Error('the token was refused');
    return used.nextToken;
  };
  /** A factor in use, or pending, straight in the store. */
  const hold = async (
    method: Method,
    state: 'ACTIVE' | 'PENDING' = 'ACTIVE',
    subject = 'ann',
    seal: (row: Pick<Factor, 'id' | 'realm' | 'subject'>) => Uint8Array = () => random.bytes(8),
  ): Promise<Factor> => {
    const now = clock.now();
    const row = { id: newId('factor', random.bytes(16)), realm: REALM, subject };
    const factor: Factor = {
      ...row,
      method,
      displayName: method,
      state: 'PENDING',
      sealedSecret: seal(row),
      lastStep: -1,
      driftSteps: 0,
      replaces: '',
      createdAt: now,
      expiresAt: now + 10 * MINUTE,
      codesLeft: 0,
    };
    const consent = {
      id: newId('consent', random.bytes(16)),
      method,
      textVersion: '1',
      language: 'en',
      grantedAt: now,
    };
    const expiresAt = now + MINUTE;
    const receipt = { receiptId: newId('receipt', random.bytes(16)), expiresAt };
    await stores.factors.begin({ factor, consent, receipt, firstOnly: false, maxFactors: 9, now, events: [] });
    if (state === 'PENDING') return factor;
    const confirmed = await stores.factors.confirm({
      realm: REALM,
      subject,
      factorId: factor.id,
      proof: { kind: 'totp', step: 1, driftSteps: 0 },
      now,
      events: [],
      replacedEvents: [],
      backupEvents: [],
    });
    if (confirmed.outcome !== 'confirmed') throw new Error(`expected a factor, got ${confirmed.outcome}`);
    return confirmed.factor;
  };
  const isGood = async (token: string) =>
    (await sessions.validation.validate(REALM, token, undefined, APPLICATION)) !== undefined;
  const eventsOf = (type: EventType): readonly EventDraft[] => audit.events.filter((event) => event.type === type);
  return {
    ...made,
    audit,
    stores,
    sessions,
    receipts,
    devices,
    logins,
    links,
    notMe,
    operations,
    ...{ signIn, show, rotate, hold, isGood, eventsOf },
  };
}
