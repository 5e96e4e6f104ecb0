import { connect } from 'node:net';

/** Sends bytes over TCP and answers what came back until the other side closed, or for `waitMs`. */
export function plainTcp(port: number, request: string | Buffer, waitMs = 15_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    let text = '';
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(done, waitMs);
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', done).on('close', done);
    socket.write(request);
  });
}
