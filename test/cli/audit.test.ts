import { chmodSync, cpSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { checkpointKeyId } from '#src/adapters/audit/checkpoint-key.ts';
import { openWorkerStorage } from '#src/adapters/local/worker-storage.ts';
import { createKeyRing, formatKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock } from '#src/adapters/system.ts';
import { FAULT_EXIT } from '#src/cli/audit-faults.ts';
import { run } from '#src/cli/program.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { AuditReader } from '#src/services/audit-reader.ts';
import { PageTokens } from '#src/services/page-tokens.ts';
import { auditHandlers } from '#src/transport/handlers/audit.ts';
import { type AuditBench, auditBench, writeEvents } from '../support/audit-files.ts';
import { AuditLogOverFile } from '../support/audit-log-over-file.ts';
import { SeededRandom } from '../support/random.ts';
import { RecordingIo } from '../support/recording-io.ts';
import { RecordingLog } from '../support/recording-telemetry.ts';
import { OPERATOR_TOKEN, serveGrpc } from '../support/transport.ts';

async function sallyport(...argv: string[]) {
  const io = new RecordingIo({});
  const code = await run(['audit', ...argv], io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

function written(count = 30): AuditBench {
  const bench = auditBench();
  const file = bench.open();
  for (let batch = 0; batch < count / 10; batch += 1) {
    writeEvents(bench, file, 10);
    file.checkpoint(bench.clock.now());
  }
  file.close();
  return bench;
}

function harmed(bench: AuditBench, sql: string): string {
  const path = bench.copy();
  const db = new SqliteDatabase(path);
  db.exec(sql);
  db.close();
  return path;
}

describe('sallyport audit verify', () => {
  it('says that a data directory and its audit file are intact', async () => {
    const bench = written();
    for (const argv of [['--data-dir', bench.folder], [bench.folder], [bench.path]]) {
      const { code, stdout } = await sallyport('verify', ...argv);
      expect({ code, stdout }).toEqual({ code: 0, stdout: 'intact: 31 rows and 4 checkpoints hold\n' });
    }
  });

  it('verifies while the file is being written, and says what is not signed yet', async () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 5);
    const { code, stdout } = await sallyport('verify', '--data-dir', bench.folder);
    expect(code).toBe(0);
    expect(stdout).toContain('note: the last 5 rows are not under a signed checkpoint yet');
    file.close();
  });

  it('ends with a code of its own for each kind of damage and names the first bad row', async () => {
    const bench = written();
    const damage: Record<keyof typeof FAULT_EXIT, string> = {
      EDITED: "UPDATE events SET record = x'08' WHERE position = 7",
      MISSING: 'DELETE FROM events WHERE position = 7',
      REORDERED: 'UPDATE events SET position = 99 WHERE position = 7',
      TRUNCATED: 'DELETE FROM events WHERE position >= 7',
      FORKED:
        'INSERT INTO events SELECT 32, chain, sequence, at, realm, type, outcome, subject_tag, challenge_tag, session_tag, previous_hash, record, hash FROM events WHERE position = 7',
      SIGNATURE: 'UPDATE checkpoints SET signature = zeroblob(64) WHERE sequence = 11',
      UNREADABLE: 'CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END',
      LINK: "UPDATE chains SET parent_chain_id = 'x'",
    };
    const rows: Partial<Record<string, number>> = { SIGNATURE: 11, UNREADABLE: 0, LINK: 1 };
    for (const [fault, sql] of Object.entries(damage)) {
      const path = harmed(bench, sql);
      const machine = await sallyport('verify', path, '--json');
      expect(machine.code, fault).toBe(FAULT_EXIT[fault as keyof typeof FAULT_EXIT]);
      expect(JSON.parse(machine.stdout)).toMatchObject({ intact: false, fault, sequence: rows[fault] ?? 7 });
      const human = await sallyport('verify', path);
      expect(human.stdout).toContain(`DAMAGED (${fault})`);
      if (rows[fault] !== 0) expect(human.stdout).toContain(`first bad row: ${rows[fault] ?? 7}`);
    }
    expect(new Set(Object.values(FAULT_EXIT)).size).toBe(8);
  });

  it('tells of damaged files that were set aside, and of a missing anchor', async () => {
    const bench = written();
    writeFileSync(join(bench.folder, 'audit.db.damaged-20260101T000000000Z'), '');
    const { stdout } = await sallyport('verify', '--data-dir', bench.folder);
    expect(stdout).toContain('kept as audit.db.damaged-20260101T000000000Z');
    const lonely = join(bench.folder, 'lonely.db');
    cpSync(bench.path, lonely);
    expect((await sallyport('verify', lonely)).stdout).toContain('there is no anchor file beside it');
  });

  it('ends with 66 for what is not there, 16 for what is something else, 2 for a wrong command line', async () => {
    const bench = written();
    expect((await sallyport('verify', join(bench.folder, 'nothing'))).code).toBe(66);
    const rubbish = join(bench.folder, 'rubbish.db');
    writeFileSync(rubbish, 'rubbish');
    expect((await sallyport('verify', rubbish)).code).toBe(16);
    writeFileSync(rubbish, 'SQLite format 3\0 and nothing more');
    expect((await sallyport('verify', rubbish)).code).toBe(16);
    expect((await sallyport('verify', '--nonsense')).code).toBe(2);
    expect((await sallyport('verify', bench.path, '--partial')).code).toBe(2);
  });

  it('trusts only the keys it is told to trust', async () => {
    const bench = written();
    const other = harmed(bench, 'SELECT 1');
    const db = new SqliteDatabase(other, { readonly: true });
    const { key } = db.prepare<[], { key: Buffer }>('SELECT public_key AS key FROM checkpoint_keys').get() ?? {
      key: Buffer.alloc(0),
    };
    db.close();
    expect((await sallyport('verify', other, '--trust', checkpointKeyId(key))).code).toBe(0);
    expect((await sallyport('verify', other, '--trust', 'f'.repeat(32))).code).toBe(FAULT_EXIT.SIGNATURE);
    const ring = join(bench.folder, 'other-ring.json');
    writeFileSync(ring, formatKeyRing(createKeyRing(new SeededRandom('other'))), { mode: 0o600 });
    expect((await sallyport('verify', other, '--key-file', ring)).code).toBe(FAULT_EXIT.SIGNATURE);
    chmodSync(ring, 0o644);
    expect((await sallyport('verify', other, '--key-file', ring)).code).toBe(66);
  });

  it('shows every exit code in its help', async () => {
    const { code, stdout } = await sallyport('verify', '--help');
    expect(code).toBe(0);
    for (const [fault, number] of Object.entries(FAULT_EXIT)) expect(stdout).toMatch(new RegExp(`${number} +${fault}`));
  });
});

describe('sallyport audit export', () => {
  it('writes what verify accepts, for its owner alone, and never over something', async () => {
    const bench = written(600);
    const file = join(bench.folder, 'trail.jsonl');
    expect(await sallyport('export', '--data-dir', bench.folder, '-o', file)).toMatchObject({ code: 0, stdout: '' });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await sallyport('verify', file)).toMatchObject({
      code: 0,
      stdout: 'intact: 601 rows and 62 checkpoints hold\n',
    });
    expect((await sallyport('export', '--data-dir', bench.folder, '-o', file)).code).toBe(66);
    expect(readFileSync(file, 'utf8')).not.toContain('user-');
  });

  it('writes lines in which every altered, lost, doubled and cut one is found', async () => {
    const bench = written();
    const { stdout } = await sallyport('export', '--data-dir', bench.folder);
    const lines = stdout.trimEnd().split('\n');
    const verify = async (changed: readonly string[]) => {
      const path = join(bench.folder, 'changed.jsonl');
      writeFileSync(path, `${changed.join('\n')}\n`);
      return (await sallyport('verify', path, '--json')).code;
    };
    expect(await verify(lines)).toBe(0);
    for (const [at, line] of lines.entries()) {
      const others = lines.toSpliced(at, 1);
      if (line.startsWith('{"kind":"row"')) {
        expect(await verify(others), `without line ${at + 1}`).toBeGreaterThan(0);
        expect(await verify(lines.toSpliced(at, 0, line)), `line ${at + 1} twice`).toBeGreaterThan(0);
        expect(await verify(lines.slice(0, at)), `cut before line ${at + 1}`).toBeGreaterThan(0);
      }
      const letter = Math.floor(line.length * 0.7);
      const altered = line.slice(0, letter) + (line[letter] === 'A' ? 'B' : 'A') + line.slice(letter + 1);
      expect(await verify(lines.toSpliced(at, 1, altered)), `line ${at + 1} altered`).toBeGreaterThan(0);
    }
    expect(await verify([])).toBe(FAULT_EXIT.UNREADABLE);
    expect(await verify(['{"kind":"row"}'])).toBe(FAULT_EXIT.UNREADABLE);
    expect(await verify([`{${' '.repeat(600_000)}`])).toBe(FAULT_EXIT.UNREADABLE);
  });

  it('writes a stretch, which verify takes as one only when told', async () => {
    const bench = written();
    const { stdout } = await sallyport('export', '--data-dir', bench.folder, '--from', '5', '--to', '15');
    const path = join(bench.folder, 'part.jsonl');
    writeFileSync(path, stdout);
    expect((await sallyport('verify', path)).code).toBe(FAULT_EXIT.MISSING);
    expect(await sallyport('verify', path, '--partial')).toMatchObject({ code: 0 });
    expect((await sallyport('export', '--data-dir', bench.folder, '--from', '9', '--to', '2')).code).toBe(2);
    expect((await sallyport('export', '--data-dir', join(bench.folder, 'none'))).code).toBe(66);
  });
});

describe('sallyport audit tail', () => {
  it('shows the last events of a data directory, with pseudonyms', async () => {
    const bench = written();
    const { code, stdout } = await sallyport('tail', '--data-dir', bench.folder, '-n', '3', '--no-follow');
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(
      /^2026-01-15T12:00:00\.\d{3}Z +31 challenge\.approved +SUCCESS default\/~[0-9a-z]{26} .*chl_30/,
    );
  });

  it('follows the file until a signal comes', async () => {
    const bench = written();
    const file = bench.open();
    const add = (...drafts: readonly EventDraft[]) => {
      file.stage(drafts);
      file.commit();
    };
    add(bench.draft({ type: 'session.created' }), bench.draft({ type: 'session.created' }));
    const io = new RecordingIo({});
    const done = run(['audit', 'tail', '--data-dir', bench.folder, '-n', '1', '--json', '--type', 'session.*'], io);
    const printed = () => io.stdout.trimEnd().split('\n');
    // The first line is of before; where to go on from was looked up by then.
    await waitFor(() => io.stdout !== '');
    add(bench.draft(), bench.draft({ type: 'session.ended', facts: { cap: '5' } }));
    await waitFor(() => printed().length === 2);
    expect(printed().map((line) => JSON.parse(line))).toMatchObject([
      { type: 'session.created', sequence: 33 },
      { type: 'session.ended', sequence: 35, facts: { cap: '5' } },
    ]);
    io.signal('SIGINT');
    expect(await done).toBe(0);
    expect(io.listeners).toBe(0);
    file.close();
  });

  it('follows from the end when nothing of before is asked for', async () => {
    const bench = written();
    const file = bench.open();
    const io = new RecordingIo({});
    const done = run(['audit', 'tail', '--data-dir', bench.folder, '-n', '0', '--json'], io);
    // When it has begun to follow cannot be seen; from then on it prints what comes.
    await waitFor(() => {
      file.stage([bench.draft({ type: 'session.created' })]);
      file.commit();
      return io.stdout !== '';
    });
    io.signal('SIGINT');
    expect(await done).toBe(0);
    expect(JSON.parse(io.stdout.split('\n')[0] ?? '')).toMatchObject({ type: 'session.created' });
    expect(io.stdout).not.toContain('challenge.approved');
    file.close();
  });

  it('opens the names of persons with the key ring when no sidecar runs', async () => {
    const bench = auditBench();
    const ring = createKeyRing(new SeededRandom('names'));
    const keyFile = join(bench.folder, 'keys.json');
    writeFileSync(keyFile, formatKeyRing(ring), { mode: 0o600 });
    const settings = {
      directory: bench.folder,
      keyRing: ring,
      maxAuditBytes: 2 ** 24,
      maxBatch: 64,
      checkpointMs: 60_000,
    };
    const storage = await openWorkerStorage({ ...settings, log: new RecordingLog(), onAppend: () => {} });
    await storage.ports.audit?.append([bench.draft({ subject: 'alice' })]);
    const tail = () => sallyport('tail', '--data-dir', bench.folder, '-n', '1', '--no-follow', '--key-file', keyFile);
    expect((await tail()).code).toBe(69);
    await storage.close();
    expect((await tail()).stdout).toContain('default/alice');
    expect((await sallyport('verify', bench.folder, '--key-file', keyFile)).code).toBe(0);
  });
});

describe('with a running sidecar', () => {
  async function served() {
    const bench = auditBench();
    const file = bench.open();
    const audit = new AuditLogOverFile(file);
    const random = new SeededRandom('served');
    const pageTokens = new PageTokens(new AesGcmSecretBox({ ring: createKeyRing(random), random }));
    const counters = () => ({ folded: 0, lost: 0 });
    const reader = new AuditReader({ audit, clock: systemClock, pageTokens, counters, heartbeatMs: 15_000 });
    const handlers = auditHandlers({ reader, realms: { names: new Set(['default']), defaultRealm: 'default' } });
    const { server, address } = await serveGrpc({
      handlers: {
        'sallyport.v1.AuditService/QueryEvents': handlers.queryEvents,
        'sallyport.v1.AuditService/TailEvents': handlers.tailEvents,
        'sallyport.v1.AuditService/ExportEvents': handlers.exportEvents,
      },
    });
    onTestFinished(async () => {
      await server.drain(0);
      file.close();
    });
    const tokenFile = join(bench.folder, 'operator.token');
    writeFileSync(tokenFile, `${OPERATOR_TOKEN}\n`);
    await audit.append(Array.from({ length: 300 }, () => bench.draft()));
    return { bench, audit, server, source: ['--address', address, '--token-file', tokenFile] };
  }

  it('exports what verify accepts', async () => {
    const { bench, source } = await served();
    const path = join(bench.folder, 'served.jsonl');
    expect(await sallyport('export', ...source, '-o', path)).toMatchObject({ code: 0, stderr: '' });
    expect(await sallyport('verify', path)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('intact: 301 rows'),
    });
  });

  it('tails with names, since an operator asks', async () => {
    const { bench, audit, source } = await served();
    const page = await sallyport('tail', ...source, '-n', '2', '--no-follow');
    expect(page.stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(page.stdout).toMatch(/default\/user-\d/);
    const io = new RecordingIo({});
    const done = run(['audit', 'tail', ...source, '-n', '1', '--json'], io);
    await waitFor(() => io.stdout.split('\n').length === 2);
    await audit.append([bench.draft({ subject: 'newcomer', method: 'totp' })]);
    await waitFor(() => io.stdout.split('\n').length === 3);
    expect(JSON.parse(io.stdout.split('\n')[1] ?? '')).toMatchObject({
      subject: 'newcomer',
      method: 'totp',
      outcome: 'SUCCESS',
    });
    io.signal('SIGTERM');
    expect(await done).toBe(0);
  });

  it('says what is wrong when nobody answers or the token is not taken', async () => {
    const { bench, source } = await served();
    const wrong = join(bench.folder, 'wrong.token');
    writeFileSync(wrong, 'not-the-token');
    expect(await sallyport('tail', '--address', source[1] ?? '', '--token-file', wrong)).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('does not take the operator token'),
    });
    expect(await sallyport('tail', '--address', '127.0.0.1:1', '--token-file', wrong, '--no-follow')).toMatchObject({
      code: 69,
    });
    expect(await sallyport('tail', ...source.slice(0, 2), '--token-file', join(bench.folder, 'none'))).toMatchObject({
      code: 66,
    });
  });
});

async function waitFor(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 500 && !condition(); round += 1) await sleep(20);
  expect(condition()).toBe(true);
}
