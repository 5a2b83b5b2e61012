/** Numbers by their time, the earliest first. */
export type EventHeap = {
  readonly size: number
  /** Infinity of nothing. */
  readonly firstAtMs: number
  push(atMs: number, id: number): void
  /** Takes out the one of `firstAtMs`. */
  pop(): number
}

/** A binary heap on flat memory: a year of a fleet goes through it some ten million times. */
export function createEventHeap(): EventHeap {
  let times = new Float64Array(1024)
  let ids = new Int32Array(1024)
  let size = 0

  function grow(): void {
    const [moreTimes, moreIds] = [new Float64Array(size * 2), new Int32Array(size * 2)]
    moreTimes.set(times)
    moreIds.set(ids)
    times = moreTimes
    ids = moreIds
  }

  function push(atMs: number, id: number): void {
    if (size === times.length) grow()
    let place = size++
    while (place > 0) {
      const parent = (place - 1) >> 1
      const parentAtMs = times[parent] ?? 0
      if (parentAtMs <= atMs) break
      times[place] = parentAtMs
      ids[place] = ids[parent] ?? 0
      place = parent
    }
    times[place] = atMs
    ids[place] = id
  }

  function pop(): number {
    if (size === 0) throw new Error('the heap is empty')
    const first = ids[0] ?? 0
    const lastAtMs = times[--size] ?? 0
    const last = ids[size] ?? 0
    let place = 0
    for (;;) {
      let child = 2 * place + 1
      if (child >= size) break
      if (child + 1 < size && (times[child + 1] ?? 0) < (times[child] ?? 0)) child += 1
      const childAtMs = times[child] ?? 0
      if (childAtMs >= lastAtMs) break
      times[place] = childAtMs
      ids[place] = ids[child] ?? 0
      place = child
    }
    times[place] = lastAtMs
    ids[place] = last
    return first
  }

  return {
    get size() {
      return size
    },
    get firstAtMs() {
      return size === 0 ? Infinity : (times[0] ?? 0)
    },
    push,
    pop,
  }
}
