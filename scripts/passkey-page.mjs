// `npm run passkey-page`: a page on this machine that does what the page of an application does with a passkey. Options go in
// by hand and the credential comes out by hand, so that each call can be seen. Nothing is stored and nothing is sent.
import { createServer } from 'node:http';

const port = Number(process.argv[2] ?? 8089);

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Passkey</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
  textarea { width: 100%; height: 9rem; font: 12px/1.4 monospace }
</style>
<h1>Passkey</h1>
<p><label>Paste what the terminal shows: the options that Sallyport made.<br><textarea id="options"></textarea></label></p>
<p><button id="go">Use a passkey</button> <output id="told"></output></p>
<p><label>Copy this back to the terminal, as one line.<br><textarea id="credential" readonly></textarea></label></p>
<script type="module" src="/page.js"></script>
</html>`;

const script = `const at = (id) => document.getElementById(id);
at('go').addEventListener('click', async () => {
  at('credential').value = '';
  at('told').textContent = '';
  try {
    const options = JSON.parse(at('options').value);
    const credential = options.rp
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    at('credential').value = JSON.stringify(credential.toJSON());
    at('credential').select();
    at('told').textContent = 'Done.';
  } catch (error) {
    at('told').textContent = String(error);
  }
});`;

const files = { '/': ['text/html', page], '/page.js': ['text/javascript', script] };
const server = createServer((request, response) => {
  const file = files[request.url ?? ''];
  if (!file) return response.writeHead(404).end();
  const [type, text] = file;
  response.writeHead(200, {
    'content-type': `${type}; charset=utf-8`,
    'content-security-policy':
      "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    'cache-control': 'no-store',
  });
  response.end(text);
});
server.on('error', (error) => {
  console.error(`passkey-page: ${error.message}`);
  process.exit(69);
});
server.listen(port, '127.0.0.1', () => {
  console.log(`open http://localhost:${server.address().port} in a browser; Ctrl-C ends it`);
});
