// libuv's echo server: as its documentation has it, with one buffer for all and the write that does
// not queue.
#include <uv.h>

#include "bench/sockets.h"

namespace {

bench::Block buffer;

void must(int status, const char* what) {
  if (status == 0) return;
  std::fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
  std::exit(1);
}

void close(uv_stream_t* peer) {
  uv_close(reinterpret_cast<uv_handle_t*>(peer),
           [](uv_handle_t* closed) { delete reinterpret_cast<uv_tcp_t*>(closed); });
}

void lend(uv_handle_t*, size_t, uv_buf_t* into) {
  *into = uv_buf_init(reinterpret_cast<char*>(buffer.get()), bench::kBuffer);
}

void onRead(uv_stream_t* peer, ssize_t size, const uv_buf_t* bytes);

// Bytes the kernel did not take. Nothing is read while there are some.
struct Rest {
  uv_write_t request;
  std::unique_ptr<char[]> bytes;
};

void onWritten(uv_write_t* request, int status) {
  uv_stream_t* peer = request->handle;
  delete static_cast<Rest*>(request->data);
  if (uv_is_closing(reinterpret_cast<uv_handle_t*>(peer))) return;
  status < 0 ? close(peer) : must(uv_read_start(peer, lend, onRead), "uv_read_start");
}

void onRead(uv_stream_t* peer, ssize_t size, const uv_buf_t* bytes) {
  if (size == 0) return;
  if (size < 0) return close(peer);
  const uv_buf_t all = uv_buf_init(bytes->base, static_cast<unsigned>(size));
  int sent = uv_try_write(peer, &all, 1);
  if (sent < 0 && sent != UV_EAGAIN) return close(peer);
  if (sent < 0) sent = 0;
  if (sent == size) return;
  uv_read_stop(peer);
  const size_t left = static_cast<size_t>(size - sent);
  auto* rest = new Rest{{}, std::make_unique<char[]>(left)};
  std::memcpy(rest->bytes.get(), bytes->base + sent, left);
  rest->request.data = rest;
  const uv_buf_t unsent = uv_buf_init(rest->bytes.get(), static_cast<unsigned>(left));
  must(uv_write(&rest->request, peer, &unsent, 1, onWritten), "uv_write");
}

void onConnection(uv_stream_t* listener, int status) {
  must(status, "uv_listen");
  auto* peer = new uv_tcp_t;
  must(uv_tcp_init(listener->loop, peer), "uv_tcp_init");
  auto* stream = reinterpret_cast<uv_stream_t*>(peer);
  if (uv_accept(listener, stream) != 0) return close(stream);
  must(uv_read_start(stream, lend, onRead), "uv_read_start");
}

}  // namespace

int main() {
  bench::prepare();
  buffer = bench::makeBuffer();
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t listener;
  must(uv_tcp_init(loop, &listener), "uv_tcp_init");
  const sockaddr_in address = bench::loopback(0);
  must(uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0), "uv_tcp_bind");
  must(uv_listen(reinterpret_cast<uv_stream_t*>(&listener), bench::kBacklog, onConnection),
       "uv_listen");
  uv_os_fd_t fd;
  must(uv_fileno(reinterpret_cast<uv_handle_t*>(&listener), &fd), "uv_fileno");
  bench::setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // inherited, so that it costs nothing later
  bench::useReno(fd);
  bench::announce(fd);
  return uv_run(loop, UV_RUN_DEFAULT);
}
