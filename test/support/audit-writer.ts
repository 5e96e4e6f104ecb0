/**
 * Writes events until it is killed, and says on stdout what is durable: `position id id …` per commit. Started as a
 * process of its own with the folder as argument.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { openAuditFile } from '#src/adapters/audit/file.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { newId } from '#src/domain/ids.ts';
import { MemorySubjectKeys } from './memory-subject-keys.ts';
import { SeededRandom } from './random.ts';

const folder = process.argv[2] ?? '.';
const file = openAuditFile({
  path: join(folder, 'audit.db'),
  subjectKeys: new MemorySubjectKeys(),
  checkpointSeed: new SeededRandom('seed').bytes(32),
  box: new AesGcmSecretBox({ ring: createKeyRing(new SeededRandom('ring')), random: systemRandom }),
  maxBytes: 256 * 1024 * 1024,
  clock: systemClock,
  random: systemRandom,
  onDamage: (damage) => writeSync(1, `damage ${damage.fault} ${damage.detail}\n`),
});
for (let batch = 0; ; batch += 1) {
  const ids = Array.from({ length: 1 + (batch % 20) }, () => newId('event', systemRandom.bytes(16)));
  file.stage(
    ids.map((id) => ({
      id,
      type: 'challenge.approved',
      at: systemClock.now(),
      realm: 'default',
      subject: 'kim',
      outcome: 'SUCCESS',
    })),
  );
  const { position } = file.commit();
  writeSync(1, `${position} ${ids.join(' ')}\n`);
  if (batch % 7 === 0) file.checkpoint(systemClock.now());
}
