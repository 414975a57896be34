// libevent's echo server: a bufferevent for each connection, whose input becomes its output without a
// copy. With a certificate and a key it speaks TLS, by OpenSSL. `server_event [CERT KEY]`
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/ssl.h>

#include "bench/openssl.h"
#include "bench/sockets.h"

namespace {

constexpr size_t kHighWater = size_t{1}
                              << 20;  // of unsent output; until it is gone nothing is read

void onRead(bufferevent* peer, void*) {
  bufferevent_write_buffer(peer, bufferevent_get_input(peer));
  if (evbuffer_get_length(bufferevent_get_output(peer)) > kHighWater) {
    bufferevent_disable(peer, EV_READ);
  }
}

void onWritten(bufferevent* peer, void*) { bufferevent_enable(peer, EV_READ); }

void onEvent(bufferevent* peer, short what, void*) {
  if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) == 0) return;
  if (SSL* const ssl = bufferevent_openssl_get_ssl(peer)) {  // as its manual says goodbye
    SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN);
    SSL_shutdown(ssl);
  }
  bufferevent_free(peer);
}

// `context` is null for plain connections.
void onConnection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void* context) {
  event_base* base = evconnlistener_get_base(listener);
  bufferevent* peer = context == nullptr ? bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE)
                                         : bufferevent_openssl_socket_new(
                                               base, fd, SSL_new(static_cast<SSL_CTX*>(context)),
                                               BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_set_max_single_read(peer, bench::kBuffer);
  bufferevent_set_max_single_write(peer, bench::kBuffer);
  bufferevent_setcb(peer, onRead, onWritten, onEvent, nullptr);
  bufferevent_enable(peer, EV_READ | EV_WRITE);
}

}  // namespace

int main(int argc, char** argv) {
  bench::prepare();
  SSL_CTX* context = argc > 2 ? bench::opensslContext(argv[1], argv[2]) : nullptr;
  event_base* base = event_base_new();
  const int fd = bench::listenOnLoopback();
  if (base == nullptr ||
      evconnlistener_new(base, onConnection, context, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                         0, fd) == nullptr) {
    bench::fail("libevent");
  }
  bench::announce(fd);
  return event_base_dispatch(base);
}
