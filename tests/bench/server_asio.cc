// Asio's echo server, as its examples have it: a session owns its buffer and itself.
#include <asio.hpp>

#include <memory>
#include <utility>

#include "bench/sockets.h"

namespace {

using asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(tcp::socket socket) : socket_(std::move(socket)) {}

  void read() {
    socket_.async_read_some(asio::buffer(buffer_.get(), bench::kBuffer),
                            [self = shared_from_this()](std::error_code error, size_t size) {
                              if (!error) self->write(size);
                            });
  }

 private:
  void write(size_t size) {
    asio::async_write(socket_, asio::buffer(buffer_.get(), size),
                      [self = shared_from_this()](std::error_code error, size_t) {
                        if (!error) self->read();
                      });
  }

  tcp::socket socket_;
  bench::Block buffer_ = bench::makeBuffer();  // its pages are there once they are read into
};

void acceptNext(tcp::acceptor& acceptor) {
  acceptor.async_accept([&](std::error_code error, tcp::socket socket) {
    if (!error) std::make_shared<Session>(std::move(socket))->read();
    acceptNext(acceptor);
  });
}

}  // namespace

int main() {
  bench::prepare();
  asio::io_context loop(1);  // a hint that one thread runs it
  tcp::acceptor acceptor(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  acceptor.listen(bench::kBacklog);
  bench::setOption(acceptor.native_handle(), IPPROTO_TCP, TCP_NODELAY, 1);
  bench::useReno(acceptor.native_handle());
  acceptNext(acceptor);
  bench::announce(acceptor.native_handle());
  loop.run();
}
