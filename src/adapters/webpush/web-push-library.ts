import webpush from 'web-push';

/** Encryption of payloads (RFC 8291) and VAPID (RFC 8292), loaded with the first use. Its own HTTP client is not used. */
export const { generateRequestDetails, getVapidHeaders } = webpush;
