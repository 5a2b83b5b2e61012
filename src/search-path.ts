/** Where programs of the system are looked for, whatever PATH says that we were started with. */
export const searchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
