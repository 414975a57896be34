// A network that loses packets: loopback of a network namespace of its own, where a rule of nftables
// drops some of them.
#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "stress/crowd.h"

namespace stress {
namespace {

void writeTo(const char* path, const std::string& text) {
  const int file = must(::open(path, O_WRONLY | O_CLOEXEC), path);
  must(::write(file, text.data(), text.size()), path);
  ::close(file);
}

// Without privilege it is asked for inside a user namespace, where we are root.
void enterNamespace() {
  if (::unshare(CLONE_NEWNET) == 0) return;
  const std::string user = std::to_string(::getuid());
  const std::string group = std::to_string(::getgid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    skip("no network namespace: %s", std::strerror(errno));
  }
  writeTo("/proc/self/setgroups", "deny");
  writeTo("/proc/self/uid_map", "0 " + user + " 1");
  writeTo("/proc/self/gid_map", "0 " + group + " 1");
}

// Packets of the size that a real network has, one in fifty lost in each direction.
void loseSome() {
  const char* const command =
      "PATH=\"$PATH:/usr/sbin:/sbin\"; exec 2>&1\n"
      "ip link set dev lo mtu 1500 gso_max_segs 1 up && nft -f - <<'EOF'\n"
      "table ip stress {\n"
      "  chain lossy {\n"
      "    type filter hook input priority 0;\n"
      "    numgen random mod 100 < 2 drop\n"
      "  }\n"
      "}\n"
      "EOF";
  std::FILE* const shell = ::popen(command, "r");
  std::string said(500, '\0');
  said.resize(std::fread(said.data(), 1, said.size(), shell));
  if (::pclose(shell) != 0) skip("ip and nft cannot drop packets here: %s", said.c_str());
}

}  // namespace

void loss(const Settings& settings) {
  enterNamespace();
  loseSome();
  Server server([](Service& service) {
    service.listen(service.options(false, echo()));
    if (WARREN_TLS) service.listen(service.options(true, echo()));
  });
  Loop loop;
  size_t done = 0;
  std::deque<Talker> talkers;
  while (talkers.size() < settings.count(600, 30)) talkers.emplace_back(loop, done);
  std::mt19937_64 random(settings.seed);

  const double begin = now();
  size_t dialed = 0;
  inTurn(loop, talkers, 100, "connecting", done, [&](Talker& talker) {
    const bool tls = WARREN_TLS && ++dialed % 3 == 0;
    talker.dial({server.port(tls ? 1 : 0), tls});
    talker.talk(100);
  });
  note("%zu connections in %.1f s", talkers.size(), now() - begin);
  inTurn(loop, talkers, 100, "talking", done,
         [&](Talker& talker) { talker.talk(1 + random() % 400'000); });
  uint64_t resent = 0;
  for (Talker& talker : talkers) {
    talker.finish();
    resent += talker.retransmitted();
  }
  for (Talker& talker : talkers) {
    loop.until([&] { return talker.ended(); });
    talker.close();
  }
  const Counts counts = server.finish().counts;
  note("%.0f MB compared, all ended after %.1f s; the clients alone sent %zu packets again",
       static_cast<double>(bytesCompared()) / 1e6, now() - begin, size_t{resent});
  if (resent == 0) fail("nothing was lost");
  if (counts.clean != talkers.size()) fail("%zu closes were clean", size_t{counts.clean});
}

}  // namespace stress
