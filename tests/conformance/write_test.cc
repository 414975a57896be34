// Writing: return values, backpressure, drain.
#include <array>
#include <thread>

#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using namespace std::chrono_literals;
using test::RawSocket;

template <class T, size_t N>
Bytes viewOf(const std::array<T, N>& array) {
  return std::as_bytes(std::span<const T>(array));
}

SCENARIO_TEST("write-return-full", "Small writes return their length in bytes") {
  Stage stage("write-return-full");
  stage.pair(stage.complete("server"), stage.complete("client"));
  const auto writes = [&](const std::string& what, auto given) {
    stage.does("client", "write(" + what + ")", [&] { return stage["client"].write(given); });
  };
  const std::array<uint8_t, 8> buffer{};
  const std::array<uint16_t, 2> shorts{};
  writes("\"hello\"", "hello");
  writes(R"("h\u00e9llo")", "h\u00e9llo");
  writes(R"("\u{1F600}")", "\U0001F600");
  writes("Uint8Array(3)", viewOf(buffer).first(3));
  writes("ArrayBuffer(4)", viewOf(buffer).first(4));
  writes("DataView(buffer 8, offset 3, length 2)", viewOf(buffer).subspan(3, 2));
  writes("Uint16Array(2)", viewOf(shorts));
  writes("SharedArrayBuffer(2)", viewOf(buffer).first(2));
  stage.quiet();
  stage.note("client", "bytesWritten", stage["client"].bytesWritten());
  stage.conforms();
}

SCENARIO_TEST("write-invalid-argument", "Writes of things that are not data") {
  Stage stage("write-invalid-argument");
  stage.pair(stage.complete("server"), stage.complete("client"));
  stage.does("client", "write()", [&] { return stage["client"].write(Bytes()); });
  stage.write("client", "ok");
  stage.conforms();
}

SCENARIO_TEST("write-offset-length", "Offset and length arguments") {
  Stage stage("write-offset-length");
  stage.pair(stage.complete("server"), stage.complete("client"));
  const Bytes buffer = asBytes("0123456789");
  const std::string_view text = "hello";
  const auto writes = [&](const std::string& what, auto given) {
    stage.does("client", "write(" + what + ")", [&] { return stage["client"].write(given); });
    stage.quiet();
  };
  writes("buf, 2", buffer.subspan(2));
  writes("buf, 2, 3", buffer.subspan(2, 3));
  writes("buf, 10", buffer.subspan(10));
  writes("buf, 0, 0", buffer.subspan(0, 0));
  writes("buf, undefined, 2", buffer.first(2));
  writes("buf, 3, undefined", buffer.subspan(3));
  writes("\"hello\", 2", text.substr(2));
  writes("\"hello\", 1, 2", text.substr(1, 2));
  stage.conforms();
}

SCENARIO_TEST("write-empty", "Empty writes") {
  Stage stage("write-empty");
  stage.pair(stage.complete("server"), stage.complete("client"));
  stage.write("client", "");
  stage.does("client", "write(empty buffer)", [&] { return stage["client"].write(Bytes()); });
  stage.close("client");
  stage.write("client", "");
  stage.conforms();
}

// A pair whose server is paused, with what its client writes and its server receives.
struct Pressure {
  explicit Pressure(Stage& at) : stage(at) {
    at.recording().folding.totals["server"] = [this](uint64_t count) {
      return count == accepted ? std::string("(all accepted)") : std::to_string(count) + " bytes";
    };
    at.pair(at.complete("server", {.open = [](Actor socket) { socket.pause(); },
                                   .data = [this](Actor, Bytes bytes) { receives(bytes); }}),
            at.complete("client", {.drain = [this](Actor) { ++drains; }}));
    Json told;
    at.does("client", "write(32 MiB)", [&] { return told = amount(writes(), kSize); });
    REQUIRE(told == "partial");
  }

  std::ptrdiff_t writes() {
    const std::ptrdiff_t count =
        stage["client"].write(Bytes(bytes(kSize)).subspan(static_cast<size_t>(accepted)));
    if (count > 0) accepted += static_cast<uint64_t>(count);
    return count;
  }

  void receives(Bytes some) {
    const Bytes wanted = bytes(kSize);
    if (received + some.size() <= accepted) {
      intact = intact && std::equal(some.begin(), some.end(),
                                    wanted.begin() + static_cast<std::ptrdiff_t>(received));
    }
    received += some.size();
  }

  static constexpr size_t kSize = 32 * kMiB;
  Stage& stage;
  uint64_t accepted = 0;
  uint64_t received = 0;
  bool intact = true;
  int drains = 0;
};

SCENARIO_TEST("write-backpressure", "A peer that does not read: partial write, then nothing") {
  Stage stage("write-backpressure");
  Pressure pressure(stage);
  std::ptrdiff_t last = 1;
  while (last > 0) last = pressure.writes();
  stage.note("client", "a write that takes nothing gives", last);
  stage.quiet();
  stage.note("client", "drain events while the peer is paused", pressure.drains);
  stage.note("client", "bytesWritten is the sum of the return values",
             stage["client"].bytesWritten() == pressure.accepted);
  stage.resume("server");
  stage.until([&] { return pressure.received == pressure.accepted && pressure.drains > 0; });
  stage.note("server", "received exactly what was accepted",
             pressure.received == pressure.accepted && pressure.intact);
  stage.write("client", "tail");
  stage.conforms();
}

SCENARIO_TEST("drain-count-no-rewrite", "How often drain fires when the handler writes nothing") {
  Stage stage("drain-count-no-rewrite");
  Pressure pressure(stage);
  stage.quiet();
  stage.note("client", "drain events while the peer is paused", pressure.drains);
  stage.resume("server");
  stage.until([&] { return pressure.received == pressure.accepted; });
  stage.note("client", "drain events in all", pressure.drains);
  stage.conforms();
}

SCENARIO_TEST("drain-without-pressure", "drain on a connection that never was full") {
  Stage stage("drain-without-pressure");
  int serverDrains = 0;
  int clientDrains = 0;
  stage.pair(stage.complete("server", {.drain = [&](Actor) { ++serverDrains; }}),
             stage.complete("client", {.drain = [&](Actor) { ++clientDrains; }}));
  stage.quiet();
  stage.does("client", "write(\"x\")", [&] { return amount(stage["client"].write("x"), 1); });
  stage.quiet();
  const Bytes given = bytes(100 << 10);
  stage.does("client", "write(100 KiB)",
             [&] { return amount(stage["client"].write(given), given.size()); });
  stage.quiet();
  stage.note("client", "drain events", clientDrains);
  stage.note("server", "drain events", serverDrains);
  stage.conforms();
}

SCENARIO_TEST("write-after-close", "Calls on a closed socket") {
  Stage stage("write-after-close");
  stage.pair(stage.complete("server"), stage.complete("client"));
  stage.write("client", "abc");
  stage.close("client");
  const Actor client = stage["client"];
  const auto calls = [&](const std::string& what, auto call) {
    static_cast<void>(stage.does("client", what, call));
  };
  stage.write("client", "x");
  calls("write(buffer)", [&] { return client.write(asBytes("buffer")); });
  stage.end("client");
  stage.end("client", "x");
  stage.shutdown("client");
  calls("shutdown(true)", [&] { client.shutdown(Side::read); });
  stage.close("client");
  stage.terminate("client");
  calls("timeout(1)", [&] { return client.timeout(1s); });
  stage.pause("client");
  stage.resume("client");
  calls("ref()", [&] { client.ref(); });
  calls("unref()", [&] { client.unref(); });
  calls("flush()", [&] { client.flush(); });
  calls("reload({socket: table})", [&] { return client.reload(stage.complete("client")); });
  stage.note("client", "bytesWritten", client.bytesWritten());
  stage.readyState("client");
  stage.conforms();
}

SCENARIO_TEST("write-to-closed-peer", "Writing after the peer closed") {
  Stage stage("write-to-closed-peer");
  stage.listen(stage.complete("server", {.open = [&](Actor) {
                                stage.write("server", "a");
                                // The peer's kernel answers with a reset, and that takes a moment.
                                std::this_thread::sleep_for(20ms);
                                stage.write("server", "b");
                                stage.write("server", "c");
                              }}));
  RawSocket::connectTcp(static_cast<uint16_t>(stage.host().port())).close();
  stage.awaits("server", "close");
  stage.conforms();
}

SCENARIO_TEST("write-inside-end", "Writing inside the end handler, half-open not allowed") {
  Stage stage("write-inside-end");
  stage.listen(stage.complete("server", {.end = [&](Actor) { stage.write("server", "answer"); }}));
  RawSocket raw = RawSocket::connectTcp(static_cast<uint16_t>(stage.host().port()));
  raw.sendAll("q");
  raw.shutdownWrite();
  stage.reads("raw", raw);
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
