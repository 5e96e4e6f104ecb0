import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { projectRoot, Sidecar } from '../support/sidecar.ts';

/** Rounds of `kill -9`. Each starts the sidecar, loads it, and kills it at a random moment. */
const ROUNDS = Number(process.env['SALLYPORT_TEST_CRASH_ROUNDS'] ?? 100);

interface Granted {
  readonly kind: 'session' | 'revocation' | 'challenge';
  readonly id: string;
}

/** Grants as fast as replies come until the process is gone; answers what was granted. */
async function load(sidecar: Sidecar, round: number): Promise<readonly Granted[]> {
  const granted: Granted[] = [];
  let running = true;
  sidecar.exited.then(() => {
    running = false;
  });
  const worker = async (lane: number) => {
    const client = sidecar.client();
    for (let index = 0; running; index += 1) {
      const subject = `crash-${round}-${lane}-${index % 4}`;
      try {
        const created = await client.unary(SessionService.method.createSession, { subject }, 5_000);
        granted.push({ kind: 'session', id: created.session?.id ?? '' });
        // MFA is off in this run, so an opened challenge is a grant at once.
        const opened = await client.unary(
          ChallengeService.method.openChallenge,
          { subject, action: { resource: 'r', action: 'a' } },
          5_000,
        );
        granted.push({ kind: 'challenge', id: opened.challenge?.id ?? '' });
        if (index % 3 === 0) {
          await client.unary(
            SessionService.method.revokeSession,
            { session: { case: 'token', value: created.token } },
            5_000,
          );
          granted.push({ kind: 'revocation', id: created.session?.id ?? '' });
        }
      } catch {
        // The process was killed under the call: nobody was told anything.
      }
    }
    client.close();
  };
  const lanes = [0, 1, 2, 3].map(worker);
  setTimeout(() => sidecar.child.kill('SIGKILL'), 20 + Math.random() * 180);
  await sidecar.exited;
  await Promise.all(lanes);
  return granted;
}

describe('kill -9 at random moments under load', () => {
  it(
    `keeps an event for every granted reply, a chain that verifies, and restarts, over ${ROUNDS} rounds`,
    async () => {
      const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-crash-'));
      const granted: Granted[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const sidecar = await Sidecar.start({ dataDir, env: { MFA_ENABLED: 'false' } });
        granted.push(...(await load(sidecar, round)));
        if (round % 10 === 9) {
          const verdict = execFileSync(
            join(projectRoot, 'bin/sallyport.mjs'),
            ['audit', 'verify', '--data-dir', dataDir, '--json'],
            { encoding: 'utf8' },
          );
          expect(JSON.parse(verdict)).toMatchObject({ intact: true });
        }
      }
      expect(granted.length).toBeGreaterThan(ROUNDS);

      const sidecar = await Sidecar.start({ dataDir });
      try {
        const operator = sidecar.operator();
        expect(await operator.unary(AuditService.method.verifyChain, {})).toMatchObject({ intact: true });
        const found = new Set<string>();
        let pageToken = '';
        do {
          const page = await operator.unary(AuditService.method.queryEvents, {
            filter: { types: ['session.created', 'session.ended', 'challenge.bypassed'] },
            pageSize: 1000,
            pageToken,
          });
          for (const event of page.events)
            found.add(`${event.type} ${event.type === 'challenge.bypassed' ? event.challengeId : event.sessionId}`);
          pageToken = page.nextPageToken;
        } while (pageToken !== '');
        const expected = {
          session: 'session.created',
          revocation: 'session.ended',
          challenge: 'challenge.bypassed',
        } as const;
        const missing = granted.filter(({ kind, id }) => !found.has(`${expected[kind]} ${id}`));
        expect(missing).toEqual([]);
        // Nothing that was ended came back.
        const client = sidecar.client();
        for (const { id } of granted.filter(({ kind }) => kind === 'revocation').slice(-20)) {
          const { session } = await client.unary(SessionService.method.getSession, { sessionId: id });
          expect(session?.endReason).toBeGreaterThan(0);
        }
      } finally {
        await sidecar.stop();
        rmSync(dataDir, { recursive: true, force: true });
      }
    },
    20 * 60_000,
  );
});
