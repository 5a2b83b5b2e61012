/**
 * A DNS name as a text whose order is that of the tree of names: what is below a name lies in one range behind it.
 * Labels from the root on, in hexadecimal, because databases differ in how they order anything but digits and letters.
 */
export function placeOf(name: string): string {
  const labels = name.split('.').reverse()
  return Buffer.from(labels.map((label) => `${label}.`).join(''), 'latin1').toString('hex')
}

/** Behind every place below this one: `g` comes after the last hexadecimal digit. */
export function endOfPlaces(place: string): string {
  return `${place}g`
}
