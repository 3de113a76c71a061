// SPDX-License-Identifier: Apache-2.0
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.Version;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/**
 * Runs one OpenSearch 3 node from plain jars: Os3Main HOME (settings: HOME/config/opensearch.yml).
 * Modules are named, not referred to: this is compiled against version 2, where the transport has
 * another name and the node takes classes. The language analysis is left out: the Java runtime
 * that is used has no Thai, which it wants.
 */
public class Os3Main extends Node {
    private static final String[] MODULES = {
        "org.opensearch.transport.Netty4ModulePlugin",
        "org.opensearch.ingest.common.IngestCommonModulePlugin",
        "org.opensearch.index.mapper.MapperExtrasModulePlugin",
        "org.opensearch.index.reindex.ReindexModulePlugin",
        "org.opensearch.painless.PainlessModulePlugin",
    };

    @SuppressWarnings({"unchecked", "rawtypes"})
    private Os3Main(Environment environment, Collection modules) {
        super(environment, modules, false);
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]).toAbsolutePath();
        Path config = home.resolve("config");
        System.setProperty("opensearch.path.home", home.toString());
        Settings settings = Settings.builder()
            .loadFromPath(config.resolve("opensearch.yml"))
            .put("path.home", home.toString())
            .build();
        List<PluginInfo> modules = new ArrayList<>();
        for (String name : MODULES) {
            Class.forName(name);
            modules.add(new PluginInfo(name, "class path", "NA", Version.CURRENT, "17", name, null,
                                       List.of(), false));
        }
        Os3Main node = new Os3Main(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "n1"),
            modules);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        new CountDownLatch(1).await();
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
