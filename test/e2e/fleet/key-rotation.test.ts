import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKeyRing, formatKeyRing, type KeyRingData, rotateKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { Fleet } from '../../support/fleet.ts';
import { verifyTrail } from '../../support/fleet-trail.ts';
import { errorInfo } from '../../support/grpc-client.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';
import { enrolledPerson, type Person, signIn } from '../../support/people.ts';
import { approvedTransfer } from '../../support/step-up.ts';
import { oathtoolCode } from '../../support/totp-code.ts';

const old = createKeyRing(systemRandom);
const rotated = rotateKeyRing(old, systemRandom);
/** The new key is known and seals nothing yet. */
const prepared: KeyRingData = { ...rotated, active: old.active };

describe('two sidecars that get a new key', () => {
  let folder: string;
  let fleet: Fleet;
  let ada: Person;

  const file = (index: number) => join(folder, `keys-${index}.json`);
  const give = (index: number, ring: KeyRingData) => {
    writeFileSync(file(index), formatKeyRing(ring), { mode: 0o600 });
    chmodSync(file(index), 0o600);
  };
  const found = async (index: number, token: string) => {
    const { validateSession } = SessionService.method;
    return (await fleet.client(index).unary(validateSession, { token })).session?.id;
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sallyport-keys-'));
    for (const index of [0, 1]) give(index, old);
    fleet = await Fleet.start({
      sidecars: 2,
      settings: UNHURRIED,
      settingsOf: (index) => ({ SALLYPORT_KEYS_FILE: file(index) }),
    });
    ada = await enrolledPerson(fleet.client(0), 'ada');
  });
  afterAll(async () => {
    await fleet[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it('in two roll-outs lose nothing at any moment: what either seals, both open', async () => {
    for (const ring of [prepared, rotated]) {
      for (const index of [0, 1]) {
        give(index, ring);
        await fleet.restart(index);
        for (const at of [0, 1]) expect(await found(at, ada.token)).toBe(ada.sessionId);
        const ben = await signIn(fleet.client(index), 'ben');
        expect(await found(1 - index, ben.token)).toBe(ben.sessionId);
      }
    }
    // The seed that was sealed under the old key. The enrolment used a code of the step before, so that of now is unused.
    expect(await approvedTransfer(fleet.client(1), ada, oathtoolCode(ada.key))).not.toBe('');
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
  });

  it('in one step grant nothing where the key is missing, and go on there once it is known', async () => {
    const [ahead, behind] = [0, 1];
    const next = rotateKeyRing(rotated, systemRandom);
    give(ahead, next);
    await fleet.restart(ahead);
    const cid = await signIn(fleet.client(ahead), 'cid');
    expect(await found(ahead, cid.token)).toBe(cid.sessionId);
    expect(errorInfo(await found(behind, cid.token).catch((error: unknown) => error))).toMatchObject({
      reason: 'INTEGRITY',
    });
    expect(await found(behind, ada.token)).toBe(ada.sessionId);
    give(behind, next);
    await fleet.restart(behind);
    expect(await found(behind, cid.token)).toBe(cid.sessionId);
  });

  it('refuse to start with another ring, however many keys it has', async () => {
    give(1, rotateKeyRing(createKeyRing(systemRandom), systemRandom));
    await expect(fleet.restart(1)).rejects.toThrow(/another key ring/);
  });
});
