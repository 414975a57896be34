// Sockets whose handlers or peers do what they should not, around the handshake and after it.
#include <cerrno>
#include <string>

#include "support/catch.h"
#include "support/net.h"
#include "support/recorder.h"
#include "tls/both.h"
#include "warren/warren.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::Both;
using test::clientTls;
using test::Lines;
using test::noteHandshake;
using test::RawSocket;
using test::Recorder;
using test::runUntil;
using test::serverTls;

// A client that does not trust the server, with this for its `handshake`.
struct Distrustful : Both {
  explicit Distrustful(std::function<void(Socket<>)> onFailure)
      : Both([&](ListenOptions<>&, ConnectOptions<>& connect) {
          connect.tls = true;
          noteHandshake(events, connect.socket, "client");
          connect.socket.handshake = [this, note = connect.socket.handshake, onFailure](
                                         Socket<> socket, bool ok, const Error& error) {
            note(socket, ok, error);
            onFailure(socket);
          };
        }) {}
};

}  // namespace

// --- what handlers do --------------------------------------------------------------------------------

TEST_CASE("tls: a handler that hears of a failed handshake can send nothing any more", "[tls]") {
  Distrustful both([](Socket<> socket) {
    REQUIRE(socket.write("secret") == -1);
    REQUIRE_FALSE(socket.send("secret"));
    REQUIRE(socket.end("secret") == -1);
    REQUIRE(socket.upgradeTls({}).error().is(Usage::closed));
  });
  both.until("client close");
  REQUIRE(both.events.of("client") ==
          Lines{"open", "handshake failed UNABLE_TO_VERIFY_LEAF_SIGNATURE", "close clean"});
  both.until("server error");
  REQUIRE(both.server.bytesRead() == 0);
}

}  // namespace warren
