import type { Running } from './running.ts';

const ROWS: readonly (readonly [key: string, title: string, prefix: string, suffix: string])[] = [
  ['grpc', 'gRPC', '', ''],
  ['socket', 'gRPC', 'unix:', ''],
  ['http', 'HTTP', 'http://', '  Connect, gRPC-Web, JSON'],
  ['public', 'public', 'http://', '  pages for browsers, callbacks of providers, JWKS'],
  ['admin', 'admin', 'http://', '  /livez /readyz /startupz /metrics'],
];

/** Lines to paste, in the order of the journey. */
function nextSteps(target: string, reflection: boolean): readonly string[] {
  const grpcurl = "grpcurl -plaintext -H 'x-sallyport-client: cli'";
  const proto = reflection ? '' : ' -import-path proto -proto sallyport/v1/session.proto';
  const call = (method: string, json: string) => `${grpcurl}${proto} -d ${json} ${target} sallyport.v1.${method}`;
  if (!reflection) return [call('SessionService/CreateSession', `'{"subject": "ada"}'`)];
  return [
    '# what is there',
    `${grpcurl} ${target} list`,
    '# a session for ada, after your own login',
    `TOKEN=$(${call('SessionService/CreateSession', `'{"subject": "ada"}'`)} | jq -r .token)`,
    '# her authenticator app: scan the code or type the key',
    `${call(
      'FactorService/BeginEnrollment',
      `'{"subject": "ada", "method": "METHOD_TOTP", "session_token": "'$TOKEN'", "consent": {"text_version": "1", "language": "en"}, "qr_formats": ["QR_FORMAT_TERMINAL"]}'`,
    )} | jq -r '.factor.id, .totp.manualKey, .totp.qrTerminal'`,
    '# confirm it with the code that the app shows',
    call('FactorService/ConfirmEnrollment', `'{"subject": "ada", "factor_id": "FACTOR", "code": "CODE"}'`),
    '# ask her before something critical',
    call(
      'ChallengeService/OpenChallenge',
      `'{"session_token": "'$TOKEN'", "sensitivity": "SENSITIVITY_CRITICAL", "action": {"resource": "accounts/42", "action": "transfer.create"}}'`,
    ),
  ];
}

/** What a person sees when the sidecar is ready. */
export function renderBanner(
  sidecar: Pick<Running, 'addresses' | 'notices'>,
  about: {
    readonly version: string;
    readonly dataDir: string;
    readonly reflection: boolean;
    /** State is in PostgreSQL, for many sidecars; with Redis in front or without. */
    readonly shared?: { readonly redis: boolean };
  },
): string {
  const { addresses, notices } = sidecar;
  const { version, dataDir, shared } = about;
  const front = shared?.redis ? ', with Redis in front' : '';
  const mode = shared ? `shared, on PostgreSQL${front}; audit buffer` : 'embedded, on SQLite';
  const lines = [`Sallyport ${version} is ready, ${mode} in ${dataDir}`, ''];
  for (const [key, title, prefix, suffix] of ROWS) {
    const address = addresses[key];
    if (address !== undefined) lines.push(`  ${title.padEnd(7)} ${prefix}${address}${suffix}`);
  }
  if (notices.length > 0) lines.push('', ...notices.map((notice) => `  note: ${notice}`));
  const target = addresses['grpc'] ?? (addresses['socket'] === undefined ? undefined : `unix:${addresses['socket']}`);
  if (target !== undefined) {
    lines.push('', 'Try next, in another terminal (or `npx sallyport demo` for the whole journey):', '');
    for (const step of nextSteps(target, about.reflection)) lines.push(`  ${step}`);
  }
  return `${lines.join('\n')}\n\n`;
}
