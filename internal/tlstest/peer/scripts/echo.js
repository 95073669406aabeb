// An echo server: node echo.js HOST PORT CERT KEY
const fs = require('fs');
const tls = require('tls');

const [host, port, cert, key] = process.argv.slice(2);
tls.createServer({cert: fs.readFileSync(cert), key: fs.readFileSync(key)}, (conn) => {
	conn.on('error', () => {}); // the client is gone
	conn.pipe(conn);
}).listen(port, host);
