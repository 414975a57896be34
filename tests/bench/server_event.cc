// libevent's echo server: a bufferevent for each connection, whose input becomes its output without a
// copy.
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

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
  if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) bufferevent_free(peer);
}

void onConnection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void*) {
  bufferevent* peer =
      bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_set_max_single_read(peer, bench::kBuffer);
  bufferevent_set_max_single_write(peer, bench::kBuffer);
  bufferevent_setcb(peer, onRead, onWritten, onEvent, nullptr);
  bufferevent_enable(peer, EV_READ | EV_WRITE);
}

}  // namespace

int main() {
  bench::prepare();
  event_base* base = event_base_new();
  const int fd = bench::listenOnLoopback();
  if (base == nullptr ||
      evconnlistener_new(base, onConnection, nullptr, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                         0, fd) == nullptr) {
    bench::fail("libevent");
  }
  bench::announce(fd);
  return event_base_dispatch(base);
}
