// Brings the foreign tools that the tests run against: grpcurl, oathtool, zbarimg and h2load. What cannot be installed
// by itself is named with the one line that gets it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { environment, root } from './prepare.mjs';

const GRPCURL = 'github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3';
const PACKAGES = { oathtool: 'oathtool', zbarimg: 'zbar-tools', h2load: 'nghttp2-client', curl: 'curl', jq: 'jq' };

const has = (command) => spawnSync('sh', ['-c', `command -v ${command}`], { env: environment }).status === 0;

function attempt(title, command, args, extra = {}) {
  process.stderr.write(`sallyport: ${title} …\n`);
  return spawnSync(command, args, { env: { ...environment, ...extra }, stdio: ['ignore', 2, 2] }).status === 0;
}

export function bringTools() {
  const missing = [];
  if (!has('grpcurl')) {
    const bin = join(root, '.tools', 'bin');
    mkdirSync(bin, { recursive: true });
    const done = has('go') && attempt('installing grpcurl', 'go', ['install', GRPCURL], { GOBIN: bin });
    if (!done || !existsSync(join(bin, 'grpcurl'))) missing.push(`grpcurl: install Go, then \`go install ${GRPCURL}\``);
  }
  const wanted = Object.entries(PACKAGES).filter(([command]) => !has(command));
  if (wanted.length > 0) {
    const names = wanted.map(([, name]) => name);
    const sudo = process.getuid?.() === 0 ? [] : has('sudo') ? ['sudo', '-n'] : undefined;
    if (sudo && has('apt-get')) {
      const apt = [...sudo, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
      attempt('refreshing the package index', apt[0], [...apt.slice(1), 'update', '-qq']);
      attempt(`installing ${names.join(', ')}`, apt[0], [
        ...apt.slice(1),
        'install',
        '-y',
        '-qq',
        '--no-install-recommends',
        ...names,
      ]);
    }
    for (const [command, name] of wanted)
      if (!has(command)) missing.push(`${command}: \`apt-get install ${name}\` (or your system's package)`);
  }
  return missing;
}
