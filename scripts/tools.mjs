// Brings the foreign programs that the tests, the benchmarks and the local cluster run: clients such as grpcurl,
// oathtool and Chromium, and the servers Redis, PostgreSQL and PgBouncer. What cannot be installed by itself is named
// with the one line that gets it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { environment, root } from './prepare.mjs';
import { withRetries } from './retries.mjs';

const GRPCURL = 'github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3';
/** Where administrators' programs are, and Debian's PostgreSQL: not on the PATH of ordinary users. */
const SERVER_HOMES = ['/usr/sbin', '/usr/local/sbin', '/sbin', '/opt/homebrew/bin'];
const POSTGRES_HOME = '/usr/lib/postgresql';

/** What apt-get brings: program, package, and for servers how to ask for the release and the oldest that will do. */
const CLIENTS = [
  { program: 'oathtool', package: 'oathtool' },
  { program: 'zbarimg', package: 'zbar-tools' },
  { program: 'h2load', package: 'nghttp2-client' },
  { program: 'curl', package: 'curl' },
  { program: 'jq', package: 'jq' },
  // The browser of the tests: service workers, Web Push and WebAuthn as people have them.
  { program: 'chromium', package: 'chromium' },
];
const SERVERS = [
  // Sharded pub/sub and CLUSTER ADDSLOTSRANGE came with 7.
  { program: 'redis-server', package: 'redis-server', unit: 'redis-server', release: /v=(\d+)/, oldest: 7 },
  { program: 'redis-cli', package: 'redis-tools', release: / (\d+)/, oldest: 7 },
  // pg_current_xact_id came with 13.
  { program: 'postgres', package: 'postgresql', unit: 'postgresql', release: / (\d+)/, oldest: 13 },
  { program: 'initdb', package: 'postgresql', release: / (\d+)/, oldest: 13 },
  { program: 'openssl', package: 'openssl' },
];
const POOLER = { program: 'pgbouncer', package: 'pgbouncer', unit: 'pgbouncer', release: / 1\.(\d+)/, oldest: 14 };

const run = (command, args) => spawnSync(command, args, { env: environment, encoding: 'utf8' });
const has = (command) => run('sh', ['-c', `command -v ${command}`]).status === 0;

function attempt(title, command, args, extra = {}) {
  process.stderr.write(`sallyport: ${title} …\n`);
  return spawnSync(command, args, { env: { ...environment, ...extra }, stdio: ['ignore', 2, 2] });
}

function find(program) {
  const versions = existsSync(POSTGRES_HOME) ? readdirSync(POSTGRES_HOME).sort((a, b) => Number(b) - Number(a)) : [];
  const homes = [...versions.map((version) => join(POSTGRES_HOME, version, 'bin')), ...SERVER_HOMES];
  const inHome = homes.map((home) => join(home, program)).find((path) => existsSync(path));
  return inHome ?? (has(program) ? program : undefined);
}

/** What is wrong with a tool, or undefined: it is there, and a server runs and is not too old. */
function faultOf({ program, release, oldest }) {
  const path = find(program);
  if (path === undefined) return 'is not installed';
  if (release === undefined) return undefined;
  const answer = run(path, ['--version']);
  const found = release.exec(answer.stdout ?? '')?.[1];
  if (answer.status !== 0 || found === undefined)
    return `does not run (${(answer.stderr || answer.error || '').toString().trim()})`;
  return Number(found) < oldest
    ? `is too old (\`${program} --version\` says ${answer.stdout.trim().split('\n')[0]})`
    : undefined;
}

/**
 * Debian starts a server as soon as it is installed, and PostgreSQL with a database of its own. Nobody asked for those:
 * ours are started on ports of their own and stopped again. While apt-get works, /usr/sbin/policy-rc.d says that nothing
 * is to be started (Debian Policy 9.3.3, invoke-rc.d). It is written only if there is none, because that one is the
 * administrator's, and the same shell takes it away however it ends.
 */
const INSTALL = `
set -C
if { printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; } 2>/dev/null; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  trap 'exit 1' HUP INT TERM
  chmod 755 /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
`;

function install(tools) {
  const sudo = process.getuid?.() === 0 ? [] : has('sudo') ? ['sudo', '-n'] : undefined;
  if (!sudo || !has('apt-get')) return;
  const asRoot = (title, ...command) => attempt(title, ...split([...sudo, ...command]));
  const packages = [...new Set(tools.map((tool) => tool.package))];
  const installing = `installing ${packages.join(', ')}`;
  withRetries(installing, () => {
    // Packages that are known already may do without it.
    asRoot('refreshing the package index', 'apt-get', 'update', '-qq', '-o', 'Acquire::Retries=3');
    return asRoot(installing, 'sh', '-c', INSTALL, 'sh', ...packages);
  });
  // Nor are they to start with the machine; `--now` is for an administrator's policy that let them start.
  const units = tools.flatMap(({ unit }) => unit ?? []);
  if (units.length > 0 && has('systemctl') && existsSync('/run/systemd/system'))
    asRoot(`leaving ${units.join(', ')} switched off`, 'systemctl', 'disable', '--now', '--quiet', ...units);
}

const split = ([command, ...args]) => [command, args];

function bring(tools) {
  // What is there and does not do is its owner's: it is named and left alone.
  const absent = tools.filter(({ program }) => find(program) === undefined);
  if (absent.length > 0) install(absent);
  return tools.flatMap((tool) => {
    const fault = faultOf(tool);
    return fault === undefined
      ? []
      : [`${tool.program} ${fault}: \`apt-get install ${tool.package}\` (or your system's package)`];
  });
}

function bringGrpcurl() {
  if (has('grpcurl')) return [];
  const bin = join(root, '.tools', 'bin');
  mkdirSync(bin, { recursive: true });
  const title = 'installing grpcurl';
  if (has('go')) withRetries(title, () => attempt(title, 'go', ['install', GRPCURL], { GOBIN: bin }));
  return existsSync(join(bin, 'grpcurl')) ? [] : [`grpcurl: install Go, then \`go install ${GRPCURL}\``];
}

/** Everything that tests and benchmarks need. Answers one line for each that is missing. */
export function bringTools() {
  return [...bringGrpcurl(), ...bring([...CLIENTS, ...SERVERS, POOLER])];
}

/** What the local cluster needs; with `redis` false without Redis. */
export function bringServers({ redis }) {
  return bring(SERVERS.filter(({ program }) => redis || !program.startsWith('redis')));
}
