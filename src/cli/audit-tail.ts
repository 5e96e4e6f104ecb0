import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { PersonalKeys } from '#src/adapters/audit/reader.ts';
import { openStateKeys } from '#src/adapters/audit/state-keys.ts';
import { NO_KEYS, openTrailFile } from '#src/adapters/audit/trail-file.ts';
import { UnreadableError } from '#src/adapters/audit/verify.ts';
import { KeyRingError } from '#src/adapters/secrets/key-ring.ts';
import { loadKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { type AuditEvent, AuditOutcome, AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import type { Method as DomainMethod } from '../domain/method.ts';
import type { EventFilter } from '../ports/audit.ts';
import { inWords, operatorToken, type SidecarSource, streamFrom } from './audit-client.ts';
import { eventJson, eventLine, type ShownEvent } from './audit-line.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { SidecarClient } from './grpc-client.ts';
import type { Io } from './io.ts';

export interface TailOptions extends SidecarSource {
  readonly backlog: number;
  readonly type?: readonly string[];
  readonly realm?: string;
  readonly follow: boolean;
  readonly json?: boolean;
  readonly keyFile?: string;
}

const POLL_MS = 250;
const PAGE = 500;
const MAX_BACKLOG = 1_000;

/** Prints until a signal comes, or to the last event with `--no-follow`. */
export async function tail(options: TailOptions, io: Io): Promise<void> {
  if (options.backlog > MAX_BACKLOG) throw new CliError(EXIT.usage, `--backlog must be at most ${MAX_BACKLOG}`);
  const stopped = new AbortController();
  const forget = io.onSignal(() => stopped.abort());
  const show = (event: ShownEvent) => io.out(options.json ? eventJson(event) : eventLine(event));
  try {
    const { address } = options;
    if (address === undefined) await tailFile(options, show, stopped.signal);
    else await tailSidecar({ ...options, address }, show, stopped.signal);
  } finally {
    forget();
  }
}

async function tailFile(options: TailOptions, show: (event: ShownEvent) => void, signal: AbortSignal): Promise<void> {
  const path = join(options.dataDir, 'audit.db');
  if (!existsSync(path))
    throw new CliError(EXIT.noInput, `there is no audit file at ${path}; name the data directory with --data-dir`);
  using keys = options.keyFile
    ? await personalKeys(options.dataDir, options.keyFile)
    : { ...NO_KEYS, [Symbol.dispose]: () => {} };
  const filter: EventFilter = {
    ...(options.type && { types: options.type }),
    ...(options.realm && { realm: options.realm }),
  };
  try {
    using trail = openTrailFile(path, keys);
    let position = trail.head();
    for (const event of trail.newest(filter, options.backlog).toReversed()) show(event);
    while (options.follow && !signal.aborted) {
      const head = trail.head();
      const found = trail.after(filter, position, PAGE);
      for (const event of found) show(event);
      position = found.length < PAGE ? Math.max(head, found.at(-1)?.position ?? 0) : (found.at(-1)?.position ?? head);
      if (found.length < PAGE) await pause(signal);
    }
  } catch (error) {
    if (error instanceof UnreadableError)
      throw new CliError(EXIT.data, `${path}: ${error.message}; run: sallyport audit verify`);
    throw error;
  }
}

async function personalKeys(dataDir: string, keyFile: string): Promise<PersonalKeys & Disposable> {
  try {
    const ring = await loadKeyRing(keyFile);
    const refuse = () => {
      throw new Error('nothing is sealed while reading');
    };
    return openStateKeys(join(dataDir, 'state.db'), new AesGcmSecretBox({ ring, random: { bytes: refuse } }));
  } catch (error) {
    if (error instanceof KeyRingError) throw new CliError(EXIT.noInput, error.message);
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(
      EXIT.unavailable,
      `cannot open the names of persons in ${dataDir}: ${why}; while a sidecar runs, ask it with --address`,
    );
  }
}

async function tailSidecar(
  options: TailOptions & { readonly address: string },
  show: (event: ShownEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const filter = { types: [...(options.type ?? [])], realm: options.realm ?? '' };
  if (!options.follow) {
    for (const event of await newest(options, filter)) show(shownFromProto(event));
    return;
  }
  const request = { filter, backlog: options.backlog };
  for await (const { event } of streamFrom(options, AuditService.method.tailEvents, request, signal))
    if (event) show(shownFromProto(event));
  if (!signal.aborted)
    throw new CliError(EXIT.unavailable, `the sidecar at ${options.address} ended the stream; it may be stopping`);
}

async function newest(options: TailOptions & { readonly address: string }, filter: { types: string[]; realm: string }) {
  if (options.backlog === 0) return [];
  const client = new SidecarClient(options.address, { name: 'sallyport-cli', operatorToken: operatorToken(options) });
  try {
    const page = await client.call(AuditService.method.queryEvents, { filter, pageSize: options.backlog });
    return page.events.toReversed();
  } catch (error) {
    throw inWords(error, options.address);
  } finally {
    client.close();
  }
}

const METHODS: Readonly<Record<Method, DomainMethod | undefined>> = {
  [Method.UNSPECIFIED]: undefined,
  [Method.TOTP]: 'totp',
  [Method.SMS]: 'sms',
  [Method.PUSH]: 'push',
  [Method.WEBAUTHN]: 'webauthn',
  [Method.BACKUP_CODE]: 'backup_code',
};

function shownFromProto(event: AuditEvent): ShownEvent {
  const {
    occurTime,
    outcome,
    count,
    sequence,
    method,
    facts,
    $typeName: _type,
    $unknown: _rest,
    hash: _hash,
    ...texts
  } = event;
  const name = METHODS[method];
  return {
    ...texts,
    at: occurTime ? timestampMs(occurTime) : 0,
    outcome: outcome === AuditOutcome.UNSPECIFIED ? 'INFO' : (AuditOutcome[outcome] as ShownEvent['outcome']),
    count: Number(count),
    sequence: Number(sequence),
    ...(name && { method: name }),
    facts: facts.map(({ key, value }) => ({ key, value })),
  };
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, POLL_MS);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
