/** A JSON object as it came: nothing about its members is known yet. */
export type JsonObject = { readonly [key: string]: unknown }

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @throws TypeError naming the member */
export function requireString(object: JsonObject, key: string): string {
  const value = object[key]
  if (typeof value !== 'string') throw new TypeError(`"${key}" is not a string`)
  return value
}

/** @throws TypeError naming the member, or when it holds more than `max` entries */
export function requireStrings(object: JsonObject, key: string, max: number): string[] {
  const value = object[key]
  if (!Array.isArray(value) || value.length > max || !value.every((entry) => typeof entry === 'string')) {
    throw new TypeError(`"${key}" is not a list of at most ${max} strings`)
  }
  return value
}

/** @throws TypeError naming the member unless absent or a string */
export function optionalString(object: JsonObject, key: string): string | undefined {
  return object[key] === undefined || object[key] === null ? undefined : requireString(object, key)
}

/** An RFC 3339 time as milliseconds since 1970. @throws TypeError naming the member unless absent or a time */
export function optionalTimeMs(object: JsonObject, key: string): number | undefined {
  const text = optionalString(object, key)
  if (text === undefined) return undefined
  const atMs = Date.parse(text)
  if (Number.isNaN(atMs)) throw new TypeError(`"${key}" is not an RFC 3339 time`)
  return atMs
}
