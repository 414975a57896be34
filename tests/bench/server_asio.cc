// Asio's echo server, as its examples have it: a session owns its buffer and itself. With a certificate
// and a key it speaks TLS, by OpenSSL. `server_asio [CERT KEY]`
#include <asio.hpp>
#include <asio/ssl.hpp>

#include <memory>
#include <utility>

#include "bench/openssl.h"
#include "bench/sockets.h"

namespace {

using asio::ip::tcp;
using Secure = asio::ssl::stream<tcp::socket>;

template <class Stream>
class Session : public std::enable_shared_from_this<Session<Stream>> {
 public:
  explicit Session(Stream stream) : stream_(std::move(stream)) {}

  void start() {
    if constexpr (std::is_same_v<Stream, Secure>) {
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](std::error_code error) {
                                if (!error) self->read();
                              });
    } else {
      read();
    }
  }

 private:
  void read() {
    stream_.async_read_some(asio::buffer(buffer_.get(), bench::kBuffer),
                            [self = this->shared_from_this()](std::error_code error, size_t size) {
                              if (!error) return self->write(size);
                              if (error == asio::error::eof) self->end();
                            });
  }

  void write(size_t size) {
    asio::async_write(stream_, asio::buffer(buffer_.get(), size),
                      [self = this->shared_from_this()](std::error_code error, size_t) {
                        if (!error) self->read();
                      });
  }

  void end() {
    if constexpr (std::is_same_v<Stream, Secure>) {
      stream_.async_shutdown([self = this->shared_from_this()](std::error_code) {});
    }
  }

  Stream stream_;
  bench::Block buffer_ = bench::makeBuffer();  // its pages are there once they are read into
};

void acceptNext(tcp::acceptor& acceptor, asio::ssl::context* context) {
  acceptor.async_accept([&acceptor, context](std::error_code error, tcp::socket socket) {
    if (!error && context == nullptr) {
      std::make_shared<Session<tcp::socket>>(std::move(socket))->start();
    } else if (!error) {
      std::make_shared<Session<Secure>>(Secure(std::move(socket), *context))->start();
    }
    acceptNext(acceptor, context);
  });
}

}  // namespace

int main(int argc, char** argv) {
  bench::prepare();
  std::unique_ptr<asio::ssl::context> context;
  if (argc > 2) {
    context = std::make_unique<asio::ssl::context>(bench::opensslContext(argv[1], argv[2]));
  }
  asio::io_context loop(1);  // a hint that one thread runs it
  tcp::acceptor acceptor(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  acceptor.listen(bench::kBacklog);
  bench::setOption(acceptor.native_handle(), IPPROTO_TCP, TCP_NODELAY, 1);
  bench::useReno(acceptor.native_handle());
  acceptNext(acceptor, context.get());
  bench::announce(acceptor.native_handle());
  loop.run();
}
