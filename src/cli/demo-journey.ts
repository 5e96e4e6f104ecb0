import { timestampDate } from '@bufbuild/protobuf/wkt';
import { AuditOutcome, AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService, type Finished } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, QrFormat, type TotpEnrollment } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { CliError, EXIT } from './exit-codes.ts';
import type { SidecarClient } from './grpc-client.ts';
import { Phone } from './phone.ts';

export interface JourneyOptions {
  readonly application: SidecarClient;
  readonly operator: SidecarClient;
  readonly out: (text: string) => void;
  /** Absent: the demo plays the phone. */
  readonly ask?: (question: string) => Promise<string>;
}

const SUBJECT = 'ada';
const ACTION = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR', to: 'Eve' } };
const CLIENT = {
  ipAddress: '203.0.113.7',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
};

/** Signs Ada in, enrols her phone, asks her before a transfer, redeems the receipt, and shows the trail of it. */
export async function playJourney(options: JourneyOptions): Promise<void> {
  const { application, out } = options;
  const title = (text: string) => out(`\n\u001b[1m${text}\u001b[0m\n`);

  title('1. Ada signs in with your own login; Sallyport keeps her session');
  const { token, session } = await application.call(SessionService.method.createSession, {
    subject: SUBJECT,
    client: CLIENT,
  });
  out(`   session ${session?.id} on ${session?.device?.browser}, ${session?.device?.operatingSystem}\n`);

  title('2. She enrols her authenticator app');
  const begun = await application.call(FactorService.method.beginEnrollment, {
    subject: SUBJECT,
    method: Method.TOTP,
    sessionToken: token,
    accountName: 'ada@example.com',
    consent: { textVersion: '2026-11', language: 'en' },
    qrFormats: [QrFormat.TERMINAL],
  });
  const totp = begun.material.value as TotpEnrollment;
  out(`${totp.qrTerminal}\n   or type the key: ${totp.manualKey}\n`);
  const phone = new Phone(totp.manualKey, options.ask);
  const confirmed = await untilRight(options, phone, async (code) => {
    const proof = { case: 'code' as const, value: code };
    return application.call(FactorService.method.confirmEnrollment, {
      subject: SUBJECT,
      factorId: begun.factor?.id ?? '',
      proof,
    });
  });
  out(`   enrolled. Her backup codes, shown this once: ${confirmed.backupCodes.slice(0, 2).join('  ')}  …\n`);

  title('3. Something critical: she is asked before 900 EUR go to Eve');
  const finished = await approve(options, token, phone);
  out(`   ${finished.challenge?.action?.digest}\n   APPROVED, and a receipt that is good for exactly this, once:\n`);
  const receipt = finished.receipt?.token ?? '';
  const [, claims = ''] = receipt.split('.');
  out(
    `${JSON.stringify(JSON.parse(Buffer.from(claims, 'base64url').toString('utf8')), undefined, 2).replace(/^/gm, '   ')}\n`,
  );

  title('4. The application redeems it right before it executes');
  const redeem = { receipt, subject: SUBJECT, sessionToken: token, action: ACTION };
  const redeemed = await application.call(ChallengeService.method.redeemReceipt, redeem);
  out(`   proven by ${redeemed.amr.join(' + ')}, ${redeemed.acr}\n`);
  const again = await application.call(ChallengeService.method.redeemReceipt, redeem).then(
    () => 'redeemed twice: this must not happen',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  out(`   a second time: ${again}\n`);

  await showTrail(options, title);
}

/** Opens the stream, offers a wrong code first to show a refusal, then the right ones. */
async function approve(
  { application, out, ask }: JourneyOptions,
  sessionToken: string,
  phone: Phone,
): Promise<Finished> {
  const stream = application.bidi(ChallengeService.method.verifyChallenge);
  const answer = (code: string) => {
    stream.write({ command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: { code } } } } } });
  };
  stream.write({
    command: { case: 'start', value: { sessionToken, action: ACTION, sensitivity: Sensitivity.CRITICAL } },
  });
  let shown = false;
  for await (const { event } of stream.messages) {
    if (event.case === 'challenge' && !shown) {
      shown = true;
      out(`   challenge ${event.value.id}, open for 60 s\n`);
      // Without a person to mistype, the demo does it.
      answer(ask ? await phone.code('   The code on your phone now: ') : phone.wrongCode());
    } else if (event.case === 'refused') {
      out(`   refused; ${event.value.attemptsLeft} attempts left\n`);
      answer(await phone.code('   A code works once. The next one: '));
    } else if (event.case === 'finished') {
      if (!event.value.receipt)
        throw new CliError(EXIT.data, 'the challenge ended without an approval; run the demo again');
      return event.value;
    }
  }
  throw new Error('the stream ended early');
}

async function untilRight<T>(
  { ask, out }: JourneyOptions,
  phone: Phone,
  attempt: (code: string) => Promise<T>,
): Promise<T> {
  for (;;) {
    const code = await phone.code('   Scan it, then type the code: ');
    try {
      return await attempt(code);
    } catch (error) {
      if (!ask) throw error;
      out(`   ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
}

async function showTrail({ operator, out }: JourneyOptions, title: (text: string) => void): Promise<void> {
  title('5. What happened? Every row is chained to the one before, and was on disk before the answer');
  const { events } = await operator.call(AuditService.method.queryEvents, { filter: { subject: SUBJECT } });
  for (const event of events.toReversed()) {
    const at = event.occurTime ? timestampDate(event.occurTime).toISOString().slice(11, 23) : '';
    const hash = Buffer.from(event.hash).toString('hex').slice(0, 8);
    const outcome = AuditOutcome[event.outcome];
    out(
      `   ${String(event.sequence).padStart(3)}  ${at}  ${hash}  ${event.type.padEnd(26)} ${outcome.toLowerCase()} ${event.reason.toLowerCase()}\n`,
    );
  }
  const verdict = await operator.call(AuditService.method.verifyChain, {});
  out(`   the chain of ${verdict.rows} rows ${verdict.intact ? 'holds' : `is broken: ${verdict.detail}`}\n\n`);
}
