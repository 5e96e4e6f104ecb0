import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enrolledPerson, openTransfer, type Person } from '../../support/people.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, totp } from '../../support/step-up.ts';

let data: string;
let person: Person;
let otherRing: string;

beforeAll(async () => {
  const first = await Sidecar.start();
  person = await enrolledPerson(first.client(), 'keyed');
  await first.stop();
  data = mkdtempSync(join(tmpdir(), 'sallyport-keys-'));
  cpSync(first.dataDir, data, { recursive: true });
  await first[Symbol.asyncDispose]();
  const second = await Sidecar.start();
  otherRing = readFileSync(join(second.dataDir, 'keys.json'), 'utf8');
  await second[Symbol.asyncDispose]();
});
afterAll(() => rmSync(data, { recursive: true, force: true }));

/** Starts on a copy of the data after `change`; how it went. */
async function startAfter(change: (dataDir: string) => void, env: Readonly<Record<string, string>> = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-keys-'));
  cpSync(data, dataDir, { recursive: true });
  change(dataDir);
  const sidecar = await Sidecar.spawn({ dataDir, env });
  try {
    const ready = await sidecar.ready().then(
      () => true,
      () => false,
    );
    if (!ready) return { ready, output: sidecar.stdout + sidecar.stderr, approved: false };
    const client = sidecar.client();
    const approved = await openTransfer(client, person).then(
      async (challengeId) =>
        (await answer(client, challengeId, person.token, totp(person.nextCode()))).end === 'approved',
      () => false,
    );
    return { ready, output: sidecar.stdout + sidecar.stderr, approved };
  } finally {
    await sidecar.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

describe('the key ring', () => {
  it('opens its own data, and is readable by its owner alone', async () => {
    expect(statSync(join(data, 'keys.json')).mode & 0o777).toBe(0o600);
    expect(statSync(join(data, 'operator.token')).mode & 0o777).toBe(0o600);
    expect(await startAfter(() => {})).toMatchObject({ ready: true, approved: true });
  });

  it.each([
    ['is gone', (dataDir: string) => rmSync(join(dataDir, 'keys.json'))],
    [
      'is of another sidecar',
      (dataDir: string) => writeFileSync(join(dataDir, 'keys.json'), otherRing, { mode: 0o600 }),
    ],
    ['is empty', (dataDir: string) => writeFileSync(join(dataDir, 'keys.json'), '')],
    ['is cut short', (dataDir: string) => writeFileSync(join(dataDir, 'keys.json'), otherRing.slice(0, 40))],
  ])('keeps the sidecar from starting on data that it does not open: it %s', async (_what, change) => {
    const { ready, output, approved } = await startAfter(change);
    expect({ ready, approved }, output).toEqual({ ready: false, approved: false });
    expect(output).toMatch(/key/i);
    // It is not made anew over data that needs the old one, and nothing of any ring is told.
    for (const part of otherRing.match(/[A-Za-z0-9_-]{32,}/g) ?? []) expect(output).not.toContain(part);
  });

  it('is never made by itself in production', async () => {
    const { ready, output } = await startAfter((dataDir) => rmSync(join(dataDir, 'keys.json')), {
      SALLYPORT_ENVIRONMENT: 'production',
    });
    expect(ready).toBe(false);
    expect(output).toMatch(/key/i);
  });
});
