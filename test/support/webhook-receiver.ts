import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface WebhookCall {
  readonly signature: string;
  readonly contentType: string;
  readonly body: string;
}

/** Takes webhooks on loopback and answers as the test says; 204 if it does not. */
export class WebhookReceiver implements AsyncDisposable {
  readonly calls: WebhookCall[] = [];
  answer: (response: ServerResponse, call: WebhookCall) => void = (response) => void response.writeHead(204).end();
  readonly #server = createServer((request, response) => void this.#take(request, response));

  static async listen(): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver();
    receiver.#server.listen(0, '127.0.0.1');
    await once(receiver.#server, 'listening');
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/notices`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const call = {
      signature: String(request.headers['sallyport-signature']),
      contentType: String(request.headers['content-type']),
      body: Buffer.concat(parts).toString('utf8'),
    };
    this.calls.push(call);
    this.answer(response, call);
  }
}
