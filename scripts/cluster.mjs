// `npm run cluster`: PostgreSQL, Redis and three sidecars on this machine, until Ctrl-C. Installs and builds what is
// missing, then hands over to scripts/cluster/main.ts on the pinned Node.
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { environment, nodeBinary, prepare, root } from './prepare.mjs';
import { bringServers } from './tools.mjs';

const REDIS = ['single', 'sentinel', 'cluster', 'off'];
const MOST_SIDECARS = 9;
const HELP = `Starts PostgreSQL, Redis and sidecars that share them, on this machine alone, until Ctrl-C.

Usage: npm run cluster -- [options]

  --sidecars N      how many sidecars, 1 to ${MOST_SIDECARS} (3)
  --redis KIND      ${REDIS.join(', ')} (single)
  --port-offset N   added to every port of the sidecars, where the usual ones are taken (0)
  --dir PATH        keeps settings and data (./sallyport-cluster)
  --fresh           starts with no data of earlier runs
  --help            shows this

Sidecar A listens on 50051 (gRPC), 8080 (HTTP) and 9090 (admin); B ten above for gRPC and HTTP and one for admin; and so on.
`;

function refuse(message) {
  process.stderr.write(`sallyport: ${message} (npm run cluster -- --help)\n`);
  process.exit(2);
}

function read() {
  try {
    const { values } = parseArgs({
      options: {
        sidecars: { type: 'string', default: '3' },
        redis: { type: 'string', default: 'single' },
        'port-offset': { type: 'string', default: '0' },
        dir: { type: 'string', default: 'sallyport-cluster' },
        fresh: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    return values;
  } catch (error) {
    return refuse(error.message.split('\n')[0]);
  }
}

function whole(name, text, least, most) {
  if (!/^\d{1,5}$/.test(text) || Number(text) < least || Number(text) > most)
    refuse(`--${name} takes a number from ${least} to ${most}, not ${text}`);
  return Number(text);
}

const given = read();
if (given.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
if (!REDIS.includes(given.redis)) refuse(`--redis takes one of ${REDIS.join(', ')}, not ${given.redis}`);
const plan = {
  sidecars: whole('sidecars', given.sidecars, 1, MOST_SIDECARS),
  redis: given.redis,
  portOffset: whole('port-offset', given['port-offset'], 0, 15_000),
  directory: resolve(process.env.INIT_CWD ?? root, given.dir),
  fresh: given.fresh,
};

prepare();
const missing = bringServers({ redis: plan.redis !== 'off' });
if (missing.length > 0) {
  const lines = missing.map((line) => `  ${line}`).join('\n');
  process.stderr.write(`sallyport: the cluster needs servers that could not be installed by themselves:\n${lines}\n`);
  process.exit(69);
}
const child = spawn(nodeBinary, ['scripts/cluster/main.ts', JSON.stringify(plan)], {
  cwd: root,
  env: environment,
  stdio: 'inherit',
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  // The terminal sends Ctrl-C to the whole group; only a signal sent to us alone has to be passed on.
  process.on(signal, () => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  });
}
child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
