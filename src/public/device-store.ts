/** What this browser keeps of an enrolment. The private key cannot be read by any script; it can only be used here. */
export interface StoredDevice {
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  readonly appName: string;
  readonly displayName: string;
  readonly privateKey: CryptoKey;
}

const NAME = 'sallyport';
const STORE = 'devices';

export async function putDevice(device: StoredDevice): Promise<void> {
  await run('readwrite', (store) => store.put(device));
}

export async function dropDevice(factorId: string): Promise<void> {
  await run('readwrite', (store) => store.delete(factorId));
}

export async function deviceOf(factorId: string): Promise<StoredDevice | undefined> {
  return (await run('readonly', (store) => store.get(factorId))) as StoredDevice | undefined;
}

export async function allDevices(): Promise<readonly StoredDevice[]> {
  return (await run('readonly', (store) => store.getAll())) as readonly StoredDevice[];
}

async function run<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await open();
  try {
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('the browser gave up'));
    });
    return request.result;
  } finally {
    database.close();
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, 1);
  return new Promise((resolve, reject) => {
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'factorId' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('the browser keeps nothing'));
    request.onblocked = () => reject(new Error('another tab is in the way'));
  });
}
