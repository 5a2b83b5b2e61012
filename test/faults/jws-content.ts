// What a signed request says (RFC 8555 §6.2): it is signed, not secret.
import { isJsonObject, type JsonObject } from '../../src/acme/json-object.ts'

export type JwsContent = {
  readonly nonce: string | undefined
  readonly accountUrl: string | undefined
  /** undefined for a POST-as-GET, and for what is no JWS. */
  readonly payload: JsonObject | undefined
}

export function readJws(body: Buffer): JwsContent {
  const jws = tryJsonObject(body.toString())
  const header = decodePart(jws?.protected)
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined)
  return { nonce: text(header?.nonce), accountUrl: text(header?.kid), payload: decodePart(jws?.payload) }
}

function decodePart(part: unknown): JsonObject | undefined {
  return typeof part === 'string' ? tryJsonObject(Buffer.from(part, 'base64url').toString()) : undefined
}

export function tryJsonObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
