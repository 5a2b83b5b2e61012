import { InvalidArgumentError } from 'commander'

/** A number above zero. */
export function parseNumberOption(text: string): number {
  const value = Number(text)
  if (!/^\d{1,7}(\.\d+)?$/.test(text) || value <= 0) throw new InvalidArgumentError('It must be a number above zero.')
  return value
}

/** A whole number above zero. */
export function parseCountOption(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('It must be a whole number above zero.')
  return Number(text)
}
