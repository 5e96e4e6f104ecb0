// `npm start`: installs and builds what is missing, then runs the sidecar. Arguments after `--` reach `sallyport serve`.
import { spawn } from 'node:child_process';
import { environment, nodeBinary, prepare, root } from './prepare.mjs';

prepare();
const child = spawn(nodeBinary, ['dist/main.mjs', 'serve', ...process.argv.slice(2)], {
  cwd: root,
  env: environment,
  stdio: 'inherit',
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  // The terminal sends Ctrl-C to the whole group; only a signal sent to us alone has to be passed on.
  process.on(signal, () => {
    if (signal === 'SIGTERM' || !process.stdin.isTTY) child.kill(signal);
  });
}
child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
