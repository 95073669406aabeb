"""An echo server: python3 echo.py HOST PORT CERT KEY TICKETS"""
import socket
import ssl
import sys
import threading

host, port, cert, key, tickets = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.num_tickets = int(tickets)


def echo(raw):
    try:
        with context.wrap_socket(raw, server_side=True) as conn:
            while data := conn.recv(4096):
                conn.sendall(data)
            conn.unwrap()
    except OSError:  # ssl.SSLError is one; the client is gone
        pass


listener = socket.create_server((host, int(port)), backlog=128)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
